// A matrix here and on the device: what the processor computed in the one is compared with what the device
// computed in the other.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/compute/reference.h"
#include "storage/base/random.h"
#include "tests/engine/device_batch.h"
#ifdef GNEISS_EMULATED_CUDA
#include "tests/emulated_cuda/emulated_cuda.h"
#endif

namespace gneiss::test {

// `seed`: of the order in which an emulated device does what it may do in any.
inline void reset_device([[maybe_unused]] std::uint64_t seed = 0) {
#ifdef GNEISS_EMULATED_CUDA
  emulated_cuda::reset();
  emulated_cuda::set_seed(seed);
#endif
}

// The largest difference, by the largest element of b. What all cancels is measured by what it is made of:
// the numbers of these tests are about 1.
inline double distance(const reference::Matrix& a, const reference::Matrix& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double largest = 0.1;
  double difference = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double error = std::abs(a.values[i] - b.values[i]);
    if (std::isnan(error)) return error;
    largest = std::max(largest, std::abs(b.values[i]));
    difference = std::max(difference, error);
  }
  return difference / largest;
}

// All that a device computed in one run.
using Results = std::vector<std::vector<float>>;
inline bool are_same_bits(const Results& a, const Results& b) {
  return std::ranges::equal(a, b, [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  });
}

class Twin {
 public:
  static constexpr float untouched = 12345;

  // `margin`: columns behind each row, which no operator may touch.
  Twin(std::size_t rows, std::size_t columns, std::size_t margin = 0)
      : host_(rows * (columns + margin), untouched),
        device_(std::span<const float>(host_)),
        rows_(rows),
        columns_(columns),
        stride_(columns + margin) {}

  MatrixView host() { return {host_.data(), rows_, columns_, stride_}; }
  MatrixView device() { return {device_.data(), rows_, columns_, stride_}; }
  // Of one row without a margin.
  std::span<float> host_span() { return host_; }
  std::span<float> device_span() { return device_.span(); }

  void draw(std::uint64_t seed, float middle = 0) {
    RandomStream draws(mix_key(seed));
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t c = 0; c < columns_; ++c) host()(r, c) = static_cast<float>(draws.normal()) + middle;
    }
    copy_to_device();
  }
  void copy_to_device() { device_.write(host_); }
  std::vector<float> read_device() const { return device_.read(); }
  reference::Matrix on_device() const {
    const std::vector<float> values = read_device();
    return reference::widen(ConstMatrixView(values.data(), rows_, columns_, stride_));
  }
  // Between both. Leaves them equal, so that what is computed from them differs by its own error alone.
  double difference() {
    const double result = distance(on_device(), reference::widen(host()));
    CHECK(margin_is_untouched());
    copy_to_device();
    return result;
  }

 private:
  bool margin_is_untouched() const {
    const std::vector<float> values = read_device();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i % stride_ >= columns_ && values[i] != untouched) return false;
    }
    return true;
  }

  std::vector<float> host_;
  DeviceArray<float> device_;
  std::size_t rows_;
  std::size_t columns_;
  std::size_t stride_;
};

}  // namespace gneiss::test
