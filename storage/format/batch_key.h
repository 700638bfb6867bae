// Which mini-batch: pool, plan and pack are keyed by it, so that several workers and drives fit.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace gneiss {

// The values are written to disk: never renumber.
enum class Split : std::uint32_t { train = 0, valid = 1, test = 2 };
inline constexpr std::array all_splits{Split::train, Split::valid, Split::test};
std::string_view name_of(Split split) noexcept;  // "train", "valid", "test"

struct BatchKey {
  Split split = Split::train;
  std::uint32_t epoch = 0;  // of the pool; 0 for validation and test
  std::uint32_t worker = 0;
  std::uint32_t batch = 0;  // within the epoch

  bool operator==(const BatchKey&) const = default;
};
std::string to_string(const BatchKey& key);  // "train epoch 0 batch 12"

}  // namespace gneiss
