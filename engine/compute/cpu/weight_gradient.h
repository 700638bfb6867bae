// A weight's gradient as partial products over pieces of rows, added in the order of pieces.
#pragma once

#include <algorithm>
#include <span>

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/pieces.h"

namespace gneiss::cpu {

inline constexpr std::size_t sum_piece_elements = 16384;  // of partial products that a thread adds: 64 KiB

inline std::size_t weight_gradient_scratch(std::size_t rows, std::size_t out_columns,
                                           std::size_t in_columns) noexcept {
  return cut(rows, piece_rows, partial_count_max).count * out_columns * (in_columns + 1);
}

// Backend::linear_weight_gradient() with a product of the caller's:
//   multiply(dz's piece, x's piece, out, worker)  out[m, k] = dz^T . x
template <class Rows, class Multiply>
void weight_gradient(const PieceRunner& runner, Rows x, ConstMatrixView dz, MatrixView weight_gradient,
                     std::span<float> bias_gradient, std::span<float> scratch, const Multiply& multiply) {
  GNEISS_ASSERT(x.rows == dz.rows);
  GNEISS_ASSERT(bias_gradient.empty() || bias_gradient.size() == dz.columns);
  GNEISS_ASSERT(scratch.size() >= weight_gradient_scratch(x.rows, dz.columns, x.columns));
  const std::size_t m = dz.columns;
  const std::size_t k = x.columns;
  const Pieces pieces = cut(x.rows, piece_rows, partial_count_max);
  if (pieces.count == 0) {
    for (std::size_t row = 0; row < weight_gradient.rows; ++row) {
      std::fill_n(weight_gradient.row(row), weight_gradient.columns, 0.0F);
    }
    std::ranges::fill(bias_gradient, 0.0F);
    return;
  }
  float* const weights = scratch.data();
  float* const biases = weights + pieces.count * m * k;
  runner.run_of_worker(pieces.count, [&](std::size_t piece, std::size_t worker) {
    const RowRange range = rows_of(pieces, piece, x.rows);
    const std::size_t count = range.last - range.first;
    multiply(dz.row_range(range.first, count), x.row_range(range.first, count),
             MatrixView(weights + piece * m * k, m, k), worker);
    if (!bias_gradient.empty()) column_sums(dz, range, {biases + piece * m, m});
  });
  const Pieces sums = cut(m, std::max<std::size_t>(1, sum_piece_elements / k), m);
  runner.run(sums.count, [&](std::size_t piece) {
    const RowRange range = rows_of(sums, piece, m);
    for (std::size_t row = range.first; row < range.last; ++row) {
      sum_parts(weights + row * k, pieces.count, m * k, {weight_gradient.row(row), k});
    }
  });
  if (!bias_gradient.empty()) sum_parts(biases, pieces.count, m, bias_gradient);
}

}  // namespace gneiss::cpu
