// XXH3 64-bit checksums: an error-detecting code at memory speed, not a defence against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct XXH3_state_s;

namespace gneiss {

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept;

// The checksum of bytes that arrive in pieces; equal to checksum() of their concatenation.
class StreamChecksum {
 public:
  StreamChecksum();
  void update(std::span<const std::byte> bytes) noexcept;
  std::uint64_t value() const noexcept;
  void reset() noexcept;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const noexcept;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace gneiss
