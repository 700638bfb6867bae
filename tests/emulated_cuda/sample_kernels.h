// Kernels for the emulator's own test, and how to launch them. nvcc compiles them as well.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace gneiss::emulated_cuda {

// target[i] = value, for i below count; grids of `block_size` threads each.
cudaError_t launch_fill(float* target, int count, float value, int block_size, cudaStream_t stream);
// target[i] = a[i] + b[i]
cudaError_t launch_add(float* target, const float* a, const float* b, int count, cudaStream_t stream);
// sums[b] = the sum of the block's 256 values, by shuffles within warps and shared memory among them.
cudaError_t launch_block_sums(float* sums, const float* values, int count, cudaStream_t stream);
// Sums each block's values in a tree in shared memory, with a barrier for each level.
cudaError_t launch_tree_sums(float* sums, const float* values, int count, cudaStream_t stream);
// answers[lane + 32 * i]: what warp function number i gives lane `lane`.
inline constexpr int warp_answers = 9;
cudaError_t launch_warp_answers(std::uint32_t* answers, cudaStream_t stream);
// Through bf16 and half and back, two at a time.
cudaError_t launch_round_trips(float* bf16, float* half, const float2* values, int pairs,
                               cudaStream_t stream);

enum class Mistake : std::uint8_t {
  divergent_barrier,
  divergent_sites,
  missing_lane,
  mask_without_caller,
  write_past_end,
  missing_barrier,
  wide_block,
  empty_grid,
  tall_grid,
};
cudaError_t launch_mistake(Mistake mistake, float* target, cudaStream_t stream);

}  // namespace gneiss::emulated_cuda
