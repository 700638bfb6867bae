#include "storage/import/radix_sort.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr int digit_bits = 11;  // 2,048 write positions still fit in the second-level TLB
constexpr std::size_t digit_values = std::size_t{1} << digit_bits;

}  // namespace

std::span<std::uint64_t> radix_sort(std::span<std::uint64_t> keys, std::span<std::uint64_t> spare,
                                    int low_bits) {
  GNEISS_ASSERT(keys.size() == spare.size());
  if (keys.size() < digit_values) {
    std::ranges::sort(keys);
    return keys;
  }
  const auto passes = static_cast<std::size_t>((low_bits + digit_bits - 1) / digit_bits);
  std::vector<std::array<std::uint64_t, digit_values>> counts(passes);
  for (const std::uint64_t key : keys) {
    for (std::size_t pass = 0; pass < passes; ++pass) {
      ++counts[pass][(key >> (pass * digit_bits)) & (digit_values - 1)];
    }
  }
  for (std::size_t pass = 0; pass < passes; ++pass) {
    auto& places = counts[pass];
    const std::size_t shift = pass * digit_bits;
    if (places[(keys[0] >> shift) & (digit_values - 1)] == keys.size()) continue;  // all alike
    std::uint64_t next = 0;
    for (std::uint64_t& place : places) next += std::exchange(place, next);
    for (const std::uint64_t key : keys) spare[places[(key >> shift) & (digit_values - 1)]++] = key;
    std::swap(keys, spare);
  }
  return keys;
}

}  // namespace gneiss
