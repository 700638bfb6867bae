// Layer normalization: a warp, or part of one, has a row and sums along it. The row is read again for each of
// its moments, from L1.
#include "engine/compute/cuda/lanes.cuh"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/norm_elements.cuh"
#include "engine/compute/cuda/norm_steps.h"

namespace gneiss::cuda {
namespace {

template <unsigned N>
__device__ __forceinline__ float total(const Floats<N>& x) {
  float sum = 0;
  for (unsigned i = 0; i < N; ++i) sum += x.at[i];
  return sum;
}

// One row's part of the work, by the lanes that have it. Lanes behind the last row have no columns, for they
// share a warp with others that sum.
template <unsigned N>
struct Lane {
  std::uint32_t row;
  std::uint32_t columns;

  __device__ Lane(std::uint32_t rows, std::uint32_t columns_)
      : row(blockIdx.x * blockDim.y + threadIdx.y), columns(row < rows ? columns_ : 0) {}

  template <class Work>
  __device__ __forceinline__ void for_columns(const Work& work) const {
    for (std::uint32_t c = threadIdx.x * N; c < columns; c += blockDim.x * N) work(c);
  }
  // The sum along the row of what `work` gives for its columns.
  template <class Work>
  __device__ __forceinline__ float sum(const Work& work) const {
    float sum = 0;
    for_columns([&](std::uint32_t c) { sum += total<N>(work(c)); });
    return sum_of_lanes(sum, blockDim.x);
  }
};

// Rounded, and not fused with the subtraction of a mean of such products: of one column nothing would be left
// but the difference, times the inverse of a deviation that is almost 0.
template <unsigned N>
__device__ __forceinline__ Floats<N> multiply(const Floats<N>& a, const Floats<N>& b) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) result.at[i] = __fmul_rn(a.at[i], b.at[i]);
  return result;
}

template <unsigned N>
__global__ void layer_norm_kernel(Norm norm, float share, FloatMatrix values, FloatMatrix standardized,
                                  float* inverse_deviation) {
  const Lane<N> lane(values.rows, values.columns);
  float* row = values.row(lane.row);
  const float mean = share * lane.sum([&](std::uint32_t c) { return load<N>(row + c); });
  const float variance = share * lane.sum([&](std::uint32_t c) {
    const Floats<N> deviation = standardize(load<N>(row + c), Floats<N>::all(mean), Floats<N>::all(1.0F));
    return multiply(deviation, deviation);
  });
  const float inverse = inverse_root(variance, norm.epsilon);
  if (threadIdx.x == 0 && lane.row < values.rows) inverse_deviation[lane.row] = inverse;
  lane.for_columns([&](std::uint32_t c) {
    const Floats<N> value = standardize(load<N>(row + c), Floats<N>::all(mean), Floats<N>::all(inverse));
    if (standardized.data != nullptr) store(value, standardized.row(lane.row) + c);
    store(scale_and_shift(value, load_each<N>(norm.weight, c), load_each<N>(norm.bias, c)), row + c);
  });
}

// The same as batch norm's with rows for columns: what comes back is dy * weight.
template <unsigned N>
__global__ void layer_norm_gradient_kernel(ConstFloatMatrix standardized, const float* inverse_deviation,
                                           Norm norm, float share, FloatMatrix gradient) {
  const Lane<N> lane(gradient.rows, gradient.columns);
  float* row = gradient.row(lane.row);
  const float* x = standardized.row(lane.row);
  const auto weighted = [&](std::uint32_t c) {
    return multiply(load<N>(row + c), load_each<N>(norm.weight, c));
  };
  const float mean = share * lane.sum(weighted);
  const float slope =
      share * lane.sum([&](std::uint32_t c) { return multiply(weighted(c), load<N>(x + c)); });
  lane.for_columns([&](std::uint32_t c) {
    store(standardize_gradient(weighted(c), load<N>(x + c), Floats<N>::all(mean), Floats<N>::all(slope),
                               Floats<N>::all(inverse_deviation[lane.row])),
          row + c);
  });
}

// row_grid() with no more than a warp for a row.
Grid grid_of(ConstMatrixView matrix, unsigned vector) {
  return row_grid(matrix.rows, std::min<std::size_t>(matrix.columns, warp_lanes * vector), vector);
}

float share_of(ConstMatrixView matrix) { return 1.0F / static_cast<float>(matrix.columns); }

}  // namespace

void layer_norm(cudaStream_t stream, const NormParameters& parameters, MatrixView values,
                MatrixView standardized, std::span<float> inverse_deviation) {
  VectorWidth width;
  width.matrix(values);
  width.matrix(standardized);
  with_width(width, [&]<unsigned N>() {
    launch(stream, grid_of(values, N), layer_norm_kernel<N>, Norm(parameters), share_of(values),
           FloatMatrix(values), FloatMatrix(standardized), inverse_deviation.data());
  });
}

void layer_norm_gradient(cudaStream_t stream, ConstMatrixView standardized,
                         std::span<const float> inverse_deviation, const NormParameters& parameters,
                         MatrixView gradient) {
  VectorWidth width;
  width.matrix(standardized);
  width.matrix(gradient);
  with_width(width, [&]<unsigned N>() {
    launch(stream, grid_of(gradient, N), layer_norm_gradient_kernel<N>, ConstFloatMatrix(standardized),
           inverse_deviation.data(), Norm(parameters), share_of(gradient), FloatMatrix(gradient));
  });
}

}  // namespace gneiss::cuda
