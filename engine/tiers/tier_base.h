// Where a tier's rows lie, for those who say of each batch's row which one it is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gneiss {

struct TierBase {
  const std::byte* rows = nullptr;  // dense; host memory, or a device's, where the host must not read it
  std::uint64_t row_count = 0;
};

}  // namespace gneiss
