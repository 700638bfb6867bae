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

// A warp's lanes have neighboring elements, and each of a block's warps every eighth part, for the parts are
// many and the elements may be few; the warps' sums are added in their order.
constexpr unsigned sum_lanes = 32;
constexpr unsigned sum_warps = block_threads / sum_lanes;

__global__ void sum_parts_kernel(const float* parts, std::uint32_t part_count, std::size_t size,
                                 bool continues, float* out) {
  __shared__ float sums[sum_warps][sum_lanes];
  const std::size_t i = std::size_t{blockIdx.x} * sum_lanes + threadIdx.x;
  float sum = 0;
  if (i < size) {
    for (std::uint32_t p = threadIdx.y; p < part_count; p += sum_warps) sum += parts[p * size + i];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= size) return;
  float total = continues ? out[i] : 0.0F;
  for (unsigned warp = 0; warp < sum_warps; ++warp) total += sums[warp][threadIdx.x];
  out[i] = total;
}

void sum_parts(cudaStream_t stream, const float* parts, std::size_t part_count, bool continues,
               std::span<float> out) {
  launch(stream,
         {dim3(static_cast<unsigned>(divide_up(out.size(), sum_lanes))), dim3(sum_lanes, sum_warps)},
         sum_parts_kernel, parts, static_cast<std::uint32_t>(part_count), out.size(), continues, out.data());
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
