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

  Masks() = default;
  explicit Masks(const Dropout& dropout) {
    if (!dropout.is_active()) return;
    nodes = dropout.row_nodes.data();
    key = dropout.key;
    threshold = dropout.threshold();
    scale = dropout.scale();
  }
  __device__ bool are_active() const { return nodes != nullptr; }
  __device__ std::uint32_t row_key(std::size_t row) const {
    return are_active() ? Dropout::row_key_of(key, nodes[row]) : 0;
  }
  __device__ float apply(float value, std::uint32_t row_key, std::uint32_t column) const {
    return Dropout::keeps(row_key, column, threshold) ? value * scale : 0.0F;
  }
};

struct Finish {
  const float* bias = nullptr;
  bool is_relu = false;
  std::uint32_t first_column = 0;
  Masks masks;

  explicit Finish(const Epilogue& epilogue)
      : bias(data_or_null(epilogue.bias)),
        is_relu(epilogue.activation == Activation::relu),
        first_column(static_cast<std::uint32_t>(epilogue.first_column)),
        masks(epilogue.dropout) {}
  bool does_nothing() const { return bias == nullptr && !is_relu && masks.nodes == nullptr; }

  template <unsigned N>
  __device__ Floats<N> apply(Floats<N> value, std::uint32_t row_key, std::uint32_t column) const {
    for (unsigned i = 0; i < N; ++i) {
      float x = value.at[i];
      if (bias != nullptr) x += bias[column + i];
      // Written so that what is no number stays so.
      if (is_relu) x = x < 0.0F ? 0.0F : x;
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
      if (is_relu) {
        g = activated.at[i] > 0.0F ? g * masks.scale : 0.0F;
      } else if (masks.are_active()) {
        g = masks.apply(g, row_key, first_column + column + i);
      }
      gradient.at[i] = g;
    }
    return gradient;
  }
};

}  // namespace gneiss::cuda
