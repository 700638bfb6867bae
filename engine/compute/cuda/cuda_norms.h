// The operators of batch and layer normalization on a CUDA device.
//
// Order:  work is put on the stream and not waited for.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/normalization.h"

namespace gneiss::cuda {

class CudaNorms final : public NormOperators {
 public:
  // `stream` outlives this.
  explicit CudaNorms(cudaStream_t stream) : stream_(stream) {}

  void column_moments(ConstMatrixView x, std::span<float> mean, std::span<float> variance,
                      std::span<float> scratch) override;
  void move_average(float momentum, float factor, std::span<const float> value,
                    std::span<float> average) override;
  void batch_norm(std::span<const float> mean, std::span<const float> variance,
                  const NormParameters& parameters, MatrixView values, MatrixView standardized) override;
  void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                           const NormParameters& parameters, MatrixView gradient,
                           std::span<float> weight_gradient, std::span<float> bias_gradient,
                           std::span<float> scratch) override;
  void layer_norm(const NormParameters& parameters, MatrixView values, MatrixView standardized,
                  std::span<float> inverse_deviation) override;
  void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                           const NormParameters& parameters, MatrixView gradient,
                           std::span<float> weight_gradient, std::span<float> bias_gradient,
                           std::span<float> scratch) override;

 private:
  cudaStream_t stream_;
};

}  // namespace gneiss::cuda
