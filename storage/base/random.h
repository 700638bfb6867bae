// Counter-based random numbers: every draw is a function of what it is drawn for, never of who draws first.
//
// Why:    batches, files and losses must not depend on the number of threads or on the order of work.
// Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as the mixing function; Lemire (2019) for bounded
//         integers without division; lowbias32 (Wellons, 2018) where 32 bits per element must vectorize.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace gneiss {

constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// A key for a stream: fold the coordinates (seed, epoch, batch, hop, node, ...) one after the other.
template <class... Rest>
constexpr std::uint64_t mix_key(std::uint64_t seed, Rest... coordinates) noexcept {
  std::uint64_t key = mix64(seed);
  ((key = mix64(key ^ static_cast<std::uint64_t>(coordinates))), ...);
  return key;
}

// A 32-bit hash in operations that CPUs and GPUs have as vectors: dropout masks are
// hash32(row_key ^ column * 0x9E3779B9).
constexpr std::uint32_t hash32(std::uint32_t x) noexcept {
  x ^= x >> 16;
  x *= 0x7FEB352DU;
  x ^= x >> 15;
  x *= 0x846CA68BU;
  x ^= x >> 16;
  return x;
}

// A stream of draws for one key. Cheap to make, 16 bytes, no state shared with any other stream.
class RandomStream {
 public:
  explicit constexpr RandomStream(std::uint64_t key) noexcept : key_(key) {}

  constexpr std::uint64_t next() noexcept { return mix64(key_ + (counter_++) * 0x9E3779B97F4A7C15ULL); }

  // Uniform in [0, bound), bound >= 1. The bias of multiply-shift is below bound / 2^64.
  constexpr std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // Uniform in [0, 1) with 53 bits.
  constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  // Standard normal (Box-Muller; one of the pair, so that draws stay independent of call sites).
  double normal() noexcept {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace gneiss
