// What batch and layer normalization have in common, columns by columns.
#pragma once

#include "engine/compute/cuda/vectors.cuh"
#include "engine/compute/cuda/views.cuh"
#include "engine/compute/normalization.h"

namespace gneiss::cuda {

// A number for each column; parameters lie one behind the other, and so anywhere.
template <unsigned N>
__device__ __forceinline__ Floats<N> load_each(const float* columns, std::uint32_t column) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) result.at[i] = columns[column + i];
  return result;
}

__device__ __forceinline__ float inverse_root(float variance, float epsilon) {
  return 1.0F / sqrtf(variance + epsilon);
}

// NormParameters as a kernel reads them.
struct Norm {
  const float* weight;
  const float* bias;  // nullptr where only gradients are asked for
  float epsilon;

  explicit Norm(const NormParameters& parameters)
      : weight(data_or_null(parameters.weight)),
        bias(data_or_null(parameters.bias)),
        epsilon(parameters.epsilon) {}
};

template <unsigned N>
__device__ __forceinline__ Floats<N> standardize(const Floats<N>& x, const Floats<N>& mean,
                                                 const Floats<N>& inverse) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) result.at[i] = (x.at[i] - mean.at[i]) * inverse.at[i];
  return result;
}

template <unsigned N>
__device__ __forceinline__ Floats<N> scale_and_shift(const Floats<N>& x, const Floats<N>& weight,
                                                     const Floats<N>& bias) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) result.at[i] = fmaf(x.at[i], weight.at[i], bias.at[i]);
  return result;
}

// factor * (g - mean - x * slope): the way back of standardizing, in which every element moved the moments.
template <unsigned N>
__device__ __forceinline__ Floats<N> standardize_gradient(const Floats<N>& g, const Floats<N>& x,
                                                          const Floats<N>& mean, const Floats<N>& slope,
                                                          const Floats<N>& factor) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) {
    result.at[i] = factor.at[i] * fmaf(-x.at[i], slope.at[i], g.at[i] - mean.at[i]);
  }
  return result;
}

}  // namespace gneiss::cuda
