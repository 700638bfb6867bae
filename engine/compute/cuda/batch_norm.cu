// Batch normalization element by element. A thread keeps its columns over many rows, for what a column's
// moments give takes a root and a division.
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/norm_elements.cuh"
#include "engine/compute/cuda/norm_steps.h"

namespace gneiss::cuda {
namespace {

template <unsigned N>
__global__ void batch_norm_kernel(const float* mean, const float* variance, Norm norm, FloatMatrix values,
                                  FloatMatrix standardized) {
  const std::uint32_t first = blockIdx.x * blockDim.y + threadIdx.y;
  const std::uint32_t step = gridDim.x * blockDim.y;
  for (std::uint32_t c = threadIdx.x * N; c < values.columns; c += blockDim.x * N) {
    const Floats<N> middle = load_each<N>(mean, c);
    const Floats<N> weight = load_each<N>(norm.weight, c);
    const Floats<N> bias = load_each<N>(norm.bias, c);
    Floats<N> inverse = load_each<N>(variance, c);
    for (unsigned i = 0; i < N; ++i) inverse.at[i] = inverse_root(inverse.at[i], norm.epsilon);
    for (std::uint32_t row = first; row < values.rows; row += step) {
      const Floats<N> value = standardize(load<N>(values.row(row) + c), middle, inverse);
      if (standardized.data != nullptr) store(value, standardized.row(row) + c);
      store(scale_and_shift(value, weight, bias), values.row(row) + c);
    }
  }
}

// dx = weight / deviation * (dy - mean(dy) - x^ * mean(dy * x^)), means over all rows: bias_gradient and
// weight_gradient hold their sums.
template <unsigned N>
__global__ void batch_norm_gradient_kernel(ConstFloatMatrix standardized, const float* variance, Norm norm,
                                           const float* weight_gradient, const float* bias_gradient,
                                           float share, FloatMatrix gradient) {
  const std::uint32_t first = blockIdx.x * blockDim.y + threadIdx.y;
  const std::uint32_t step = gridDim.x * blockDim.y;
  for (std::uint32_t c = threadIdx.x * N; c < gradient.columns; c += blockDim.x * N) {
    const Floats<N> mean = times(load_each<N>(bias_gradient, c), share);
    const Floats<N> slope = times(load_each<N>(weight_gradient, c), share);
    Floats<N> factor = load_each<N>(norm.weight, c);
    for (unsigned i = 0; i < N; ++i) factor.at[i] *= inverse_root(variance[c + i], norm.epsilon);
    for (std::uint32_t row = first; row < gradient.rows; row += step) {
      float* g = gradient.row(row) + c;
      store(standardize_gradient(load<N>(g), load<N>(standardized.row(row) + c), mean, slope, factor), g);
    }
  }
}

// Enough blocks to fill any device a few times over.
Grid striding_grid(std::size_t rows, std::size_t columns, unsigned vector) {
  constexpr unsigned blocks_max = 2048;
  Grid grid = row_grid(rows, columns, vector);
  grid.blocks.x = std::min(grid.blocks.x, blocks_max);
  return grid;
}

}  // namespace

void batch_norm(cudaStream_t stream, std::span<const float> mean, std::span<const float> variance,
                const NormParameters& parameters, MatrixView values, MatrixView standardized) {
  VectorWidth width;
  width.matrix(values);
  width.matrix(standardized);
  with_width(width, [&]<unsigned N>() {
    launch(stream, striding_grid(values.rows, values.columns, N), batch_norm_kernel<N>, mean.data(),
           variance.data(), Norm(parameters), FloatMatrix(values), FloatMatrix(standardized));
  });
}

void batch_norm_gradient(cudaStream_t stream, ConstMatrixView standardized, std::span<const float> variance,
                         const NormParameters& parameters, std::span<const float> weight_gradient,
                         std::span<const float> bias_gradient, MatrixView gradient) {
  VectorWidth width;
  width.matrix(standardized);
  width.matrix(gradient);
  with_width(width, [&]<unsigned N>() {
    launch(stream, striding_grid(gradient.rows, gradient.columns, N), batch_norm_gradient_kernel<N>,
           ConstFloatMatrix(standardized), variance.data(), Norm(parameters), weight_gradient.data(),
           bias_gradient.data(), 1.0F / static_cast<float>(gradient.rows), FloatMatrix(gradient));
  });
}

}  // namespace gneiss::cuda
