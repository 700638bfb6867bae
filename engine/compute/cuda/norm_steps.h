// The steps of normalization on a stream: see NormOperators for what each computes.
//
// Shapes are checked by the caller; all memory is the device's.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/normalization.h"

namespace gneiss::cuda {

// In norm_sums.cu. Sums over rows in cut_rows()'s pieces, for which scratch has cut_rows(rows).count *
// columns elements or more, and twice that for the parameters' gradients.
void column_means(cudaStream_t stream, ConstMatrixView x, std::span<float> mean, std::span<float> scratch);
void column_variances(cudaStream_t stream, ConstMatrixView x, std::span<const float> mean,
                      std::span<float> variance, std::span<float> scratch);
// weight_gradient and bias_gradient: column sums of gradient * standardized, and of gradient.
void parameter_gradients(cudaStream_t stream, ConstMatrixView standardized, ConstMatrixView gradient,
                         std::span<float> weight_gradient, std::span<float> bias_gradient,
                         std::span<float> scratch);
void move_average(cudaStream_t stream, float momentum, float factor, std::span<const float> value,
                  std::span<float> average);

// In batch_norm.cu. The gradients of the parameters are known.
void batch_norm(cudaStream_t stream, std::span<const float> mean, std::span<const float> variance,
                const NormParameters& parameters, MatrixView values, MatrixView standardized);
void batch_norm_gradient(cudaStream_t stream, ConstMatrixView standardized, std::span<const float> variance,
                         const NormParameters& parameters, std::span<const float> weight_gradient,
                         std::span<const float> bias_gradient, MatrixView gradient);

// In layer_norm.cu.
void layer_norm(cudaStream_t stream, const NormParameters& parameters, MatrixView values,
                MatrixView standardized, std::span<float> inverse_deviation);
void layer_norm_gradient(cudaStream_t stream, ConstMatrixView standardized,
                         std::span<const float> inverse_deviation, const NormParameters& parameters,
                         MatrixView gradient);

}  // namespace gneiss::cuda
