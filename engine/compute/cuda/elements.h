// Element-wise work between the products, and the optimizer's step, on a stream: see Backend.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/backend.h"

namespace gneiss::cuda {

void apply_epilogue(cudaStream_t stream, const Epilogue& epilogue, MatrixView values);
void epilogue_gradient(cudaStream_t stream, ConstMatrixView activated, const Epilogue& epilogue,
                       MatrixView gradient);
void add(cudaStream_t stream, ConstMatrixView x, MatrixView out);
void fill_zero(cudaStream_t stream, MatrixView values);
void adam(cudaStream_t stream, const AdamStep& step, std::span<float> values,
          std::span<const float> gradients, std::span<float> first_moments, std::span<float> second_moments);

// How many doubles clip_norm's sum is cut into.
inline constexpr unsigned norm_part_count = 256;
// Scales `values` by norm_max / (norm + 1e-6) where that is below 1; parts[norm_part_count] is scratch, and
// *norm becomes the norm before.
void clip_norm(cudaStream_t stream, std::span<float> values, double norm_max, double* parts, double* norm);

}  // namespace gneiss::cuda
