#include "engine/compute/cpu/cpu_norms.h"

#include <algorithm>

#include "engine/compute/cpu/norm_kernels.h"

namespace gneiss::cpu {
namespace {

Pieces sum_pieces(std::size_t rows) { return cut(rows, piece_rows, partial_count_max); }

void scale(float factor, std::span<float> values) {
  for (float& value : values) value *= factor;
}

void check(const NormParameters& parameters, ConstMatrixView values) {
  GNEISS_ASSERT(parameters.weight.size() == values.columns);
  GNEISS_ASSERT(parameters.bias.empty() || parameters.bias.size() == values.columns);
}
void check_same(ConstMatrixView a, ConstMatrixView b) {
  GNEISS_ASSERT(a.rows == b.rows && a.columns == b.columns);
}

}  // namespace

void CpuNorms::column_moments(ConstMatrixView x, std::span<float> mean, std::span<float> variance,
                              std::span<float> scratch) {
  const Pieces pieces = sum_pieces(x.rows);
  GNEISS_ASSERT(x.rows > 0 && mean.size() == x.columns && variance.size() == x.columns);
  GNEISS_ASSERT(scratch.size() >= pieces.count * x.columns);
  const auto part = [&](std::size_t piece) { return scratch.subspan(piece * x.columns, x.columns); };
  const float share = 1.0F / static_cast<float>(x.rows);
  pieces_.run(pieces.count,
              [&](std::size_t piece) { column_sums(x, rows_of(pieces, piece, x.rows), part(piece)); });
  sum_parts(scratch.data(), pieces.count, x.columns, mean);
  scale(share, mean);
  // By the deviations, in a second pass: the mean of squares less the square of the mean would cancel.
  pieces_.run(pieces.count, [&](std::size_t piece) {
    column_square_sums(x, mean, rows_of(pieces, piece, x.rows), part(piece));
  });
  sum_parts(scratch.data(), pieces.count, x.columns, variance);
  scale(share, variance);
}

void CpuNorms::move_average(float momentum, float factor, std::span<const float> value,
                            std::span<float> average) {
  GNEISS_ASSERT(value.size() == average.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    average[i] = (1 - momentum) * average[i] + momentum * factor * value[i];
  }
}

void CpuNorms::batch_norm(std::span<const float> mean, std::span<const float> variance,
                          const NormParameters& parameters, MatrixView values, MatrixView standardized) {
  check(parameters, values);
  GNEISS_ASSERT(mean.size() == values.columns && variance.size() == values.columns);
  if (standardized.rows != 0) check_same(values, standardized);
  pieces_.for_rows(values.rows, [&](RowRange range) {
    cpu::batch_norm(mean, variance, parameters, range, values, standardized);
  });
}

void CpuNorms::parameter_gradients(ConstMatrixView standardized, ConstMatrixView gradient,
                                   std::span<float> weight_gradient, std::span<float> bias_gradient,
                                   std::span<float> scratch) {
  const std::size_t columns = gradient.columns;
  const Pieces pieces = sum_pieces(gradient.rows);
  GNEISS_ASSERT(weight_gradient.size() == columns && bias_gradient.size() == columns);
  GNEISS_ASSERT(scratch.size() >= pieces.count * 2 * columns);
  if (pieces.count == 0) {
    std::ranges::fill(weight_gradient, 0.0F);
    std::ranges::fill(bias_gradient, 0.0F);
    return;
  }
  pieces_.run(pieces.count, [&](std::size_t piece) {
    const RowRange range = rows_of(pieces, piece, gradient.rows);
    const std::span<float> part = scratch.subspan(piece * 2 * columns, 2 * columns);
    column_product_sums(gradient, standardized, range, part.first(columns));
    column_sums(gradient, range, part.last(columns));
  });
  sum_parts(scratch.data(), pieces.count, 2 * columns, weight_gradient);
  sum_parts(scratch.data() + columns, pieces.count, 2 * columns, bias_gradient);
}

void CpuNorms::batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                                   const NormParameters& parameters, MatrixView gradient,
                                   std::span<float> weight_gradient, std::span<float> bias_gradient,
                                   std::span<float> scratch) {
  check(parameters, gradient);
  check_same(standardized, gradient);
  GNEISS_ASSERT(variance.size() == gradient.columns);
  parameter_gradients(standardized, gradient, weight_gradient, bias_gradient, scratch);
  pieces_.for_rows(gradient.rows, [&](RowRange range) {
    cpu::batch_norm_gradient(standardized, variance, parameters, weight_gradient, bias_gradient, range,
                             gradient);
  });
}

void CpuNorms::layer_norm(const NormParameters& parameters, MatrixView values, MatrixView standardized,
                          std::span<float> inverse_deviation) {
  check(parameters, values);
  if (standardized.rows != 0) check_same(values, standardized);
  GNEISS_ASSERT(inverse_deviation.size() == values.rows);
  pieces_.for_rows(values.rows, [&](RowRange range) {
    cpu::layer_norm(parameters, range, values, standardized, inverse_deviation);
  });
}

void CpuNorms::layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                                   const NormParameters& parameters, MatrixView gradient,
                                   std::span<float> weight_gradient, std::span<float> bias_gradient,
                                   std::span<float> scratch) {
  check(parameters, gradient);
  check_same(standardized, gradient);
  GNEISS_ASSERT(inverse_deviation.size() == gradient.rows);
  parameter_gradients(standardized, gradient, weight_gradient, bias_gradient, scratch);
  pieces_.for_rows(gradient.rows, [&](RowRange range) {
    cpu::layer_norm_gradient(standardized, inverse_deviation, parameters, range, gradient);
  });
}

}  // namespace gneiss::cpu
