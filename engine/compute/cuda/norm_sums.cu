// What normalization sums down the columns: moments, and the gradients of its weight and bias.
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/norm_steps.h"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {
namespace {

// What is summed of one element.
struct Value {
  ConstFloatMatrix x;
  __device__ float operator()(std::uint32_t row, std::uint32_t column) const { return x.row(row)[column]; }
};
struct SquaredDeviation {
  ConstFloatMatrix x;
  const float* mean;
  __device__ float operator()(std::uint32_t row, std::uint32_t column) const {
    const float deviation = x.row(row)[column] - mean[column];
    return deviation * deviation;
  }
};
struct Product {
  ConstFloatMatrix a;
  ConstFloatMatrix b;
  __device__ float operator()(std::uint32_t row, std::uint32_t column) const {
    return a.row(row)[column] * b.row(row)[column];
  }
};

// A thread has a column of a piece: consecutive threads read consecutive columns.
template <class Term>
__global__ void piece_terms_kernel(Term term, std::uint32_t rows, std::uint32_t columns,
                                   std::uint32_t piece_rows, float factor, float* parts) {
  const std::uint32_t column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const std::uint32_t first = blockIdx.x * piece_rows;
  const std::uint32_t last = min(rows, first + piece_rows);
  float sum = 0;
  for (std::uint32_t row = first; row < last; ++row) sum += term(row, column);
  parts[std::size_t{blockIdx.x} * columns + column] = factor * sum;
}

// out[c] = factor * sum over rows of term(row, c).
template <class Term>
void sum_terms(cudaStream_t stream, const Term& term, std::size_t rows, float factor, std::span<float> out,
               std::span<float> scratch) {
  const RowPieces pieces = cut_rows(rows);
  const std::size_t columns = out.size();
  const auto threads = static_cast<unsigned>(std::min<std::size_t>(block_threads, std::bit_ceil(columns)));
  launch(stream,
         {dim3(static_cast<unsigned>(pieces.count), static_cast<unsigned>(divide_up(columns, threads))),
          dim3(threads)},
         piece_terms_kernel<Term>, term, rows, columns, pieces.rows, factor, scratch.data());
  sum_parts(stream, scratch.data(), pieces.count, out);
}

float share(std::size_t rows) { return 1.0F / static_cast<float>(rows); }

__global__ void move_average_kernel(float kept, float added, const float* value, std::size_t size,
                                    float* average) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < size;
       i += std::size_t{gridDim.x} * blockDim.x) {
    average[i] = kept * average[i] + added * value[i];
  }
}

}  // namespace

void column_means(cudaStream_t stream, ConstMatrixView x, std::span<float> mean, std::span<float> scratch) {
  sum_terms(stream, Value{x}, x.rows, share(x.rows), mean, scratch);
}

void column_variances(cudaStream_t stream, ConstMatrixView x, std::span<const float> mean,
                      std::span<float> variance, std::span<float> scratch) {
  sum_terms(stream, SquaredDeviation{x, mean.data()}, x.rows, share(x.rows), variance, scratch);
}

void parameter_gradients(cudaStream_t stream, ConstMatrixView standardized, ConstMatrixView gradient,
                         std::span<float> weight_gradient, std::span<float> bias_gradient,
                         std::span<float> scratch) {
  const std::size_t half = cut_rows(gradient.rows).count * gradient.columns;
  sum_terms(stream, Product{gradient, standardized}, gradient.rows, 1.0F, weight_gradient,
            scratch.first(half));
  sum_terms(stream, Value{gradient}, gradient.rows, 1.0F, bias_gradient, scratch.subspan(half, half));
}

void move_average(cudaStream_t stream, float momentum, float factor, std::span<const float> value,
                  std::span<float> average) {
  launch(stream, flat_grid(average.size()), move_average_kernel, 1.0F - momentum, momentum * factor,
         value.data(), average.size(), average.data());
}

}  // namespace gneiss::cuda
