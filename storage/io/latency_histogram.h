// Latencies in a fixed 30 KiB, to 1.6 % of their value: percentiles without keeping every sample.
//
// Source: the log-linear buckets of HdrHistogram (Gil Tene).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace gneiss {

class LatencyHistogram {
 public:
  void record(std::uint64_t nanoseconds) noexcept {
    ++counts_[bucket_of(nanoseconds)];
    ++count_;
    max_ = std::max(max_, nanoseconds);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t max_nanoseconds() const noexcept { return max_; }

  // The latency that a share of the samples, in (0, 1], does not exceed: the upper end of its bucket, at
  // most the maximum. 0 without samples.
  std::uint64_t quantile_nanoseconds(double share) const noexcept {
    const auto wanted = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_))));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      seen += counts_[bucket];
      if (seen >= wanted) return std::min(upper_end(bucket), max_);
    }
    return max_;
  }

 private:
  // Below 64 ns a bucket a nanosecond, above 64 buckets each doubling.
  static constexpr unsigned sub_bits = 6;
  static constexpr std::uint64_t sub_count = std::uint64_t{1} << sub_bits;

  static std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < sub_count) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - sub_bits;
    return (shift + 1) * sub_count + ((value >> shift) - sub_count);
  }
  static std::uint64_t upper_end(std::size_t bucket) noexcept {
    if (bucket < sub_count) return bucket;
    const std::size_t shift = bucket / sub_count - 1;
    return ((bucket % sub_count + sub_count + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - sub_bits + 1) * sub_count> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace gneiss
