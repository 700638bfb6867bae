// The operators of batch and layer normalization.
//
// Why:    apart from Backend, for a backend may come without them.
// Order:  sums over rows run over pieces whose shape depends on the data alone, added in their order.
// Source: Ioffe and Szegedy (ICML 2015); Ba, Kiros, Hinton (2016); the semantics are PyTorch's BatchNorm1d
//         and LayerNorm: biased variances, except in the running one.
#pragma once

#include <span>

#include "engine/compute/backend.h"

namespace gneiss {

struct NormParameters {
  std::span<const float> weight{};  // [columns]
  std::span<const float> bias{};    // [columns]
  float epsilon = 1e-5F;            // added to variances
};

class NormOperators {
 public:
  virtual ~NormOperators() = default;

  // mean[k] and variance[k], biased, of the columns of x[n, k]; n > 0.
  //   scratch  Backend::weight_gradient_scratch(n, k, 1) elements or more, here and below
  virtual void column_moments(ConstMatrixView x, std::span<float> mean, std::span<float> variance,
                              std::span<float> scratch) = 0;

  // average[k] = (1 - momentum) * average[k] + momentum * factor * value[k]
  virtual void move_average(float momentum, float factor, std::span<const float> value,
                            std::span<float> average) = 0;

  // values[n, k], in place: standardized by the columns' moments, times weight, plus bias.
  //   standardized  [n, k]: without weight and bias; a view with no rows: not wanted
  virtual void batch_norm(std::span<const float> mean, std::span<const float> variance,
                          const NormParameters& parameters, MatrixView values, MatrixView standardized) = 0;
  // gradient[n, k], in place: of what batch_norm was given, where the moments were those of its rows.
  virtual void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                                   const NormParameters& parameters, MatrixView gradient,
                                   std::span<float> weight_gradient, std::span<float> bias_gradient,
                                   std::span<float> scratch) = 0;

  // The same, each row by its own moments.
  //   inverse_deviation  [n]: 1 / sqrt(variance + epsilon) of each row
  virtual void layer_norm(const NormParameters& parameters, MatrixView values, MatrixView standardized,
                          std::span<float> inverse_deviation) = 0;
  virtual void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                                   const NormParameters& parameters, MatrixView gradient,
                                   std::span<float> weight_gradient, std::span<float> bias_gradient,
                                   std::span<float> scratch) = 0;
};

}  // namespace gneiss
