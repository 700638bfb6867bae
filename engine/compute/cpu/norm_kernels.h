// The loops of normalization, each over a range of rows that one thread does alone; see kernels.h.
#pragma once

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/normalization.h"

namespace gneiss::cpu {

// What they compute stands at NormOperators.
// out[c] = sum over rows of (x[r, c] - mean[c])^2, and of a[r, c] * b[r, c]
void column_square_sums(ConstMatrixView x, std::span<const float> mean, RowRange range, std::span<float> out);
void column_product_sums(ConstMatrixView a, ConstMatrixView b, RowRange range, std::span<float> out);
void batch_norm(std::span<const float> mean, std::span<const float> variance,
                const NormParameters& parameters, RowRange range, MatrixView values, MatrixView standardized);
void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                         const NormParameters& parameters, std::span<const float> weight_gradient,
                         std::span<const float> bias_gradient, RowRange range, MatrixView gradient);
void layer_norm(const NormParameters& parameters, RowRange range, MatrixView values, MatrixView standardized,
                std::span<float> inverse_deviation);
void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                         const NormParameters& parameters, RowRange range, MatrixView gradient);

}  // namespace gneiss::cpu
