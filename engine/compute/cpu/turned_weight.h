// A weight turned over, once for all pieces of a product: out = x . weight^T.
//
// Why:     oneDNN's product with a right side as it lies in memory is a tenth faster than with one to be read
//          across; it reads it anew for each piece of rows.
// Memory:  one weight's, taken anew at the first call that needs more: at most bytes().
// Threads: one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/compute/matrix_view.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss::cpu {

class TurnedWeight {
 public:
  // The most for weights of so many columns or fewer.
  static std::uint64_t bytes(std::size_t in_columns, std::size_t out_columns) noexcept {
    return std::min(bytes_max,
                    round_up(std::uint64_t{in_columns} * out_columns * sizeof(float), direct_io_alignment));
  }

  // Whether it is worth it for a product of `rows` rows: turning, half a nanosecond a number, is then little
  // beside what it saves. The widest weights are left as they are, for memory's sake.
  static bool is_worth_it(std::size_t rows, ConstMatrixView weight) noexcept {
    constexpr std::size_t rows_min = 2048;
    return rows >= rows_min && weight.rows * weight.columns * sizeof(float) <= bytes_max;
  }

  std::uint64_t kept_bytes() const noexcept { return memory_.capacity(); }

  // weight[m, k] as [k, m], valid until the next call.
  ConstMatrixView of(ConstMatrixView weight) {
    const std::size_t bytes = weight.rows * weight.columns * sizeof(float);
    if (memory_.size() < bytes) {
      memory_ = {};  // before the larger one is taken
      memory_ = AlignedBuffer::uninitialized(bytes);
    }
    auto* const turned = reinterpret_cast<float*>(memory_.data());
    constexpr std::size_t side = 16;  // lines of both are used whole while they are in the first cache
    for (std::size_t row = 0; row < weight.rows; row += side) {
      for (std::size_t column = 0; column < weight.columns; ++column) {
        const std::size_t last = std::min(row + side, weight.rows);
        for (std::size_t r = row; r < last; ++r) turned[column * weight.rows + r] = weight(r, column);
      }
    }
    return {turned, weight.columns, weight.rows};
  }

 private:
  static constexpr std::uint64_t bytes_max = 4U << 20;  // 1024 by 1024

  AlignedBuffer memory_;
};

}  // namespace gneiss::cpu
