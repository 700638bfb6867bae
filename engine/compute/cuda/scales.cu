// The factors of GCN's normalization.
#include "engine/compute/cuda/aggregate.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {
namespace {

__device__ std::uint32_t self_loop_count(const Block& block, std::uint32_t dst) {
  const std::uint32_t self = block.row_of(dst);
  std::uint32_t count = 0;
  for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
    count += block.indices[edge] == self ? 1 : 0;
  }
  return count;
}

__global__ void symmetric_kernel(Block block, float* destination, float* source) {
  const std::uint32_t dst = blockIdx.x * blockDim.x + threadIdx.x;
  if (dst >= block.dst_count) return;
  const std::uint32_t neighbors = block.degree(dst) - self_loop_count(block, dst);
  const float scale = 1.0F / sqrtf(1.0F + static_cast<float>(neighbors));
  destination[dst] = scale;
  if (source != nullptr) source[block.row_of(dst)] = scale;
}

__global__ void self_loop_kernel(Block block, const float* source, float* self) {
  const std::uint32_t dst = blockIdx.x * blockDim.x + threadIdx.x;
  if (dst >= block.dst_count) return;
  const float own = source == nullptr ? 1.0F : source[block.row_of(dst)];
  self[dst] = own * (1.0F - static_cast<float>(self_loop_count(block, dst)));
}

Grid a_thread_each(std::size_t count) {
  return {dim3(static_cast<unsigned>(divide_up(count, block_threads))), dim3(block_threads)};
}

}  // namespace

void symmetric_scales(cudaStream_t stream, const BlockView& block, std::span<float> destination,
                      std::span<float> source) {
  if (!source.empty())
    check(cudaMemsetAsync(source.data(), 0, source.size_bytes(), stream), "clearing memory");
  launch(stream, a_thread_each(block.dst_count), symmetric_kernel, Block(block), destination.data(),
         source.empty() ? nullptr : source.data());
}

void self_loop_scales(cudaStream_t stream, const BlockView& block, std::span<const float> source,
                      std::span<float> self) {
  launch(stream, a_thread_each(block.dst_count), self_loop_kernel, Block(block), data_or_null(source),
         self.data());
}

}  // namespace gneiss::cuda
