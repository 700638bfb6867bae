#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {
namespace {

// A thread has a column of a piece: consecutive threads read consecutive columns.
__global__ void piece_sums_kernel(ConstFloatMatrix matrix, std::uint32_t piece_rows, float* parts) {
  const std::uint32_t column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= matrix.columns) return;
  const std::uint32_t first = blockIdx.x * piece_rows;
  const std::uint32_t last = min(matrix.rows, first + piece_rows);
  float sum = 0;
  for (std::uint32_t row = first; row < last; ++row) sum += matrix.row(row)[column];
  parts[std::size_t{blockIdx.x} * matrix.columns + column] = sum;
}

__global__ void sum_parts_kernel(const float* parts, std::uint32_t part_count, std::size_t size,
                                 bool continues, float* out) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < size;
       i += std::size_t{gridDim.x} * blockDim.x) {
    float sum = continues ? out[i] : 0.0F;
    for (std::uint32_t p = 0; p < part_count; ++p) sum += parts[p * size + i];
    out[i] = sum;
  }
}

void sum_parts(cudaStream_t stream, const float* parts, std::size_t part_count, bool continues,
               std::span<float> out) {
  launch(stream, flat_grid(out.size()), sum_parts_kernel, parts, static_cast<std::uint32_t>(part_count),
         out.size(), continues, out.data());
}

}  // namespace

void sum_parts(cudaStream_t stream, const float* parts, std::size_t part_count, std::span<float> out) {
  sum_parts(stream, parts, part_count, false, out);
}
void add_parts(cudaStream_t stream, const float* parts, std::size_t part_count, std::span<float> out) {
  sum_parts(stream, parts, part_count, true, out);
}

void column_sums(cudaStream_t stream, ConstMatrixView matrix, std::span<float> out,
                 std::span<float> scratch) {
  const RowPieces pieces = cut_rows(matrix.rows);
  if (pieces.count > 0 && !out.empty()) {
    const auto columns = static_cast<unsigned>(out.size());
    const unsigned threads = std::min(block_threads, std::bit_ceil(columns));
    launch(stream,
           {dim3(static_cast<unsigned>(pieces.count), static_cast<unsigned>(divide_up(columns, threads))),
            dim3(threads)},
           piece_sums_kernel, ConstFloatMatrix(matrix), static_cast<std::uint32_t>(pieces.rows),
           scratch.data());
  }
  sum_parts(stream, scratch.data(), pieces.count, out);
}

}  // namespace gneiss::cuda
