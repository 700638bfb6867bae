#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/cuda_norms.h"
#include "engine/compute/cuda/norm_steps.h"

namespace gneiss::cuda {
namespace {

void check(const NormParameters& parameters, ConstMatrixView values) {
  GNEISS_ASSERT(parameters.weight.size() == values.columns);
  GNEISS_ASSERT(parameters.bias.empty() || parameters.bias.size() == values.columns);
}
void check_same(ConstMatrixView a, ConstMatrixView b) {
  GNEISS_ASSERT(a.rows == b.rows && a.columns == b.columns);
}
void check_gradients(ConstMatrixView gradient, std::span<const float> weight_gradient,
                     std::span<const float> bias_gradient, std::span<const float> scratch) {
  const std::size_t columns = gradient.columns;
  GNEISS_ASSERT(weight_gradient.size() == columns && bias_gradient.size() == columns);
  GNEISS_ASSERT(scratch.size() >= cut_rows(gradient.rows).count * 2 * columns);
}

}  // namespace

void CudaNorms::column_moments(ConstMatrixView x, std::span<float> mean, std::span<float> variance,
                               std::span<float> scratch) {
  GNEISS_ASSERT(x.rows > 0 && mean.size() == x.columns && variance.size() == x.columns);
  GNEISS_ASSERT(scratch.size() >= cut_rows(x.rows).count * x.columns);
  column_means(stream_, x, mean, scratch);
  // By the deviations, in a second pass: the mean of squares less the square of the mean would cancel.
  column_variances(stream_, x, mean, variance, scratch);
}

void CudaNorms::move_average(float momentum, float factor, std::span<const float> value,
                             std::span<float> average) {
  GNEISS_ASSERT(value.size() == average.size());
  cuda::move_average(stream_, momentum, factor, value, average);
}

void CudaNorms::batch_norm(std::span<const float> mean, std::span<const float> variance,
                           const NormParameters& parameters, MatrixView values, MatrixView standardized) {
  check(parameters, values);
  GNEISS_ASSERT(mean.size() == values.columns && variance.size() == values.columns);
  GNEISS_ASSERT(parameters.bias.size() == values.columns);
  if (standardized.rows != 0) check_same(values, standardized);
  cuda::batch_norm(stream_, mean, variance, parameters, values, standardized);
}

void CudaNorms::batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                                    const NormParameters& parameters, MatrixView gradient,
                                    std::span<float> weight_gradient, std::span<float> bias_gradient,
                                    std::span<float> scratch) {
  check(parameters, gradient);
  check_same(standardized, gradient);
  check_gradients(gradient, weight_gradient, bias_gradient, scratch);
  GNEISS_ASSERT(variance.size() == gradient.columns);
  parameter_gradients(stream_, standardized, gradient, weight_gradient, bias_gradient, scratch);
  cuda::batch_norm_gradient(stream_, standardized, variance, parameters, weight_gradient, bias_gradient,
                            gradient);
}

void CudaNorms::layer_norm(const NormParameters& parameters, MatrixView values, MatrixView standardized,
                           std::span<float> inverse_deviation) {
  check(parameters, values);
  GNEISS_ASSERT(parameters.bias.size() == values.columns);
  if (standardized.rows != 0) check_same(values, standardized);
  GNEISS_ASSERT(inverse_deviation.size() == values.rows);
  cuda::layer_norm(stream_, parameters, values, standardized, inverse_deviation);
}

void CudaNorms::layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                                    const NormParameters& parameters, MatrixView gradient,
                                    std::span<float> weight_gradient, std::span<float> bias_gradient,
                                    std::span<float> scratch) {
  check(parameters, gradient);
  check_same(standardized, gradient);
  check_gradients(gradient, weight_gradient, bias_gradient, scratch);
  GNEISS_ASSERT(inverse_deviation.size() == gradient.rows);
  parameter_gradients(stream_, standardized, gradient, weight_gradient, bias_gradient, scratch);
  cuda::layer_norm_gradient(stream_, standardized, inverse_deviation, parameters, gradient);
}

}  // namespace gneiss::cuda
