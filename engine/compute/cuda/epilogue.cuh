// Bias, activation and dropout, element by element, and their way back: the same masks as on the CPU.
#pragma once

#include "engine/compute/cuda/vectors.cuh"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {

struct Masks {
  const NodeId* nodes = nullptr;  // nullptr: no dropout
  std::uint64_t key = 0;
  std::uint32_t threshold = 0;
  float scale = 1;
  float unscale = 1;  // what came out by it is as it was before

  Masks() = default;
  explicit Masks(const Dropout& dropout) {
    if (!dropout.is_active()) return;
    nodes = dropout.row_nodes.data();
    key = dropout.key;
    threshold = dropout.threshold();
    scale = dropout.scale();
    unscale = 1.0F - dropout.probability;
  }
  __device__ bool are_active() const { return nodes != nullptr; }
  __device__ std::uint32_t row_key(std::size_t row) const {
    return are_active() ? Dropout::row_key_of(key, nodes[row]) : 0;
  }
  __device__ float apply(float value, std::uint32_t row_key, std::uint32_t column) const {
    return Dropout::keeps(row_key, column, threshold) ? value * scale : 0.0F;
  }
};

// Written so that what is no number stays so.
__device__ inline float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::relu:
      return x < 0.0F ? 0.0F : x;
    case Activation::leaky_relu:
      return x < 0.0F ? leaky_relu_slope * x : x;
    case Activation::elu:
      return x < 0.0F ? expm1f(x) : x;
    case Activation::tanh:
      return tanhf(x);
    default:
      return x;
  }
}
// The slope there, by what came out.
__device__ inline float activation_slope(Activation activation, float activated) {
  switch (activation) {
    case Activation::relu:
      return activated > 0.0F ? 1.0F : 0.0F;
    case Activation::leaky_relu:
      return activated > 0.0F ? 1.0F : leaky_relu_slope;
    case Activation::elu:
      return activated < 0.0F ? activated + 1.0F : 1.0F;
    case Activation::tanh:
      return 1.0F - activated * activated;
    default:
      return 1.0F;
  }
}

struct Finish {
  const float* bias = nullptr;
  Activation activation = Activation::none;
  std::uint32_t first_column = 0;
  Masks masks;

  explicit Finish(const Epilogue& epilogue)
      : bias(data_or_null(epilogue.bias)),
        activation(epilogue.activation),
        first_column(static_cast<std::uint32_t>(epilogue.first_column)),
        masks(epilogue.dropout) {}
  bool does_nothing() const {
    return bias == nullptr && activation == Activation::none && masks.nodes == nullptr;
  }

  template <unsigned N>
  __device__ Floats<N> apply(Floats<N> value, std::uint32_t row_key, std::uint32_t column) const {
    for (unsigned i = 0; i < N; ++i) {
      float x = value.at[i];
      if (bias != nullptr) x += bias[column + i];
      x = activate(activation, x);
      if (masks.are_active()) x = masks.apply(x, row_key, first_column + column + i);
      value.at[i] = x;
    }
    return value;
  }
  // After relu the output's zeros are the mask, dropout's included: an output is above 0 exactly where the
  // input was and the element was kept.
  template <unsigned N>
  __device__ Floats<N> apply_gradient(Floats<N> gradient, const Floats<N>& activated, std::uint32_t row_key,
                                      std::uint32_t column) const {
    for (unsigned i = 0; i < N; ++i) {
      float g = gradient.at[i];
      if (activation == Activation::relu) {
        g = activated.at[i] > 0.0F ? g * masks.scale : 0.0F;
      } else {
        g *= activation_slope(activation, activated.at[i] * masks.unscale);
        if (masks.are_active()) g = masks.apply(g, row_key, first_column + column + i);
      }
      gradient.at[i] = g;
    }
    return gradient;
  }
};

}  // namespace gneiss::cuda
