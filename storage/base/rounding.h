// Multiples: of alignments, pages, pieces. Apart, for kernels include it, which nvcc compiles without fmt.
#pragma once

#include <cstdint>

namespace gneiss {

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t multiple) noexcept {
  return value / multiple * multiple;
}
constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t divisor) noexcept {
  return (value + divisor - 1) / divisor;
}

}  // namespace gneiss
