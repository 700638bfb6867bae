// A keyed permutation of [0, count) that needs no table: every node finds its place, and back, by arithmetic.
//
// Why:     generated ids must say nothing about class, community or degree, and ten bytes a node for a
//          shuffled table would be the generator's largest use of memory.
// Source:  rounds of odd multiplication and xor-shift, each a bijection of b-bit numbers; values beyond
//          `count` are walked around their cycle (Black and Rogaway, 2002).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "storage/base/random.h"

namespace gneiss {

class IdShuffle {
 public:
  IdShuffle(std::uint64_t count, std::uint64_t key) noexcept : count_(count) {
    const auto bits = static_cast<int>(std::bit_width(count > 1 ? count - 1 : 1));
    mask_ = (std::uint64_t{1} << bits) - 1;
    shift_ = (bits + 1) / 2;  // at least half: x ^ (x >> shift) then undoes itself
    for (std::size_t round = 0; round < rounds; ++round) {
      factors_[round] = (mix_key(key, round, 1) | 1) & mask_;
      terms_[round] = mix_key(key, round, 2) & mask_;
      // Newton's iteration doubles the correct low bits: 3, 6, 12, 24, 48.
      std::uint64_t inverse = factors_[round];
      for (int i = 0; i < 5; ++i) inverse *= 2 - factors_[round] * inverse;
      inverses_[round] = inverse & mask_;
    }
  }

  std::uint64_t forward(std::uint64_t value) const noexcept {
    do {
      for (std::size_t round = 0; round < rounds; ++round) {
        value = (value * factors_[round] + terms_[round]) & mask_;
        value ^= value >> shift_;
      }
    } while (value >= count_);
    return value;
  }

  std::uint64_t backward(std::uint64_t value) const noexcept {
    do {
      for (std::size_t round = rounds; round-- > 0;) {
        value ^= value >> shift_;
        value = ((value - terms_[round]) * inverses_[round]) & mask_;
      }
    } while (value >= count_);
    return value;
  }

 private:
  static constexpr std::size_t rounds = 4;
  std::uint64_t count_;
  std::uint64_t mask_ = 0;
  int shift_ = 1;
  std::array<std::uint64_t, rounds> factors_{};
  std::array<std::uint64_t, rounds> inverses_{};
  std::array<std::uint64_t, rounds> terms_{};
};

}  // namespace gneiss
