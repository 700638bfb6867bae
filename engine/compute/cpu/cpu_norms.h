// The operators of batch and layer normalization on the processor.
#pragma once

#include "engine/compute/cpu/pieces.h"
#include "engine/compute/normalization.h"

namespace gneiss::cpu {

class CpuNorms final : public NormOperators {
 public:
  // `pieces` outlives this.
  explicit CpuNorms(const PieceRunner& pieces) : pieces_(pieces) {}

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
  // weight_gradient and bias_gradient: column sums of gradient * standardized, and of gradient.
  void parameter_gradients(ConstMatrixView standardized, ConstMatrixView gradient,
                           std::span<float> weight_gradient, std::span<float> bias_gradient,
                           std::span<float> scratch);

  const PieceRunner& pieces_;
};

}  // namespace gneiss::cpu
