// Sorts keys by their low bits: least significant digit first, 11 bits a pass.
//
// Why:    edges are keys of 40 to 60 bits that differ only below their bucket's prefix; four passes over
//         memory beat a comparison sort about five times.
// Memory: a second array of the same size, the caller's.
#pragma once

#include <cstdint>
#include <span>

namespace gneiss {

// Sorts `keys`, which agree above `low_bits`; the result is in the array that is returned, one of the two.
std::span<std::uint64_t> radix_sort(std::span<std::uint64_t> keys, std::span<std::uint64_t> spare,
                                    int low_bits);

}  // namespace gneiss
