#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tests/emulated_cuda/sample_kernels.h"

namespace gneiss::emulated_cuda {
namespace {

constexpr int threads = 256;
constexpr unsigned all_lanes = 0xffffffffu;

__device__ __forceinline__ int global_index() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void fill(float* __restrict__ target, int count, float value) {
  const int i = global_index();
  if (i < count) target[i] = value;
}

__global__ void __launch_bounds__(threads)
    add(float* target, const float* __restrict__ a, const float* __restrict__ b, int count) {
  for (int i = global_index(); i < count; i += static_cast<int>(gridDim.x * blockDim.x)) {
    target[i] = __ldg(a + i) + __ldg(b + i);
  }
}

template <class T>
__device__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(all_lanes, value, offset);
  return value;
}

__global__ void __launch_bounds__(threads) block_sums(float* sums, const float* values, int count) {
  __shared__ float warp_sums[threads / 32];
  const int i = global_index();
  const float sum = warp_sum(i < count ? values[i] : 0.0f);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) warp_sums[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    const float total = warp_sum(lane < threads / 32 ? warp_sums[lane] : 0.0f);
    if (lane == 0) sums[blockIdx.x] = total;
  }
}

__global__ void __launch_bounds__(threads) tree_sums(float* sums, const float* values, int count) {
  __shared__ __align__(16) float tree[threads];
  const int i = global_index();
  tree[threadIdx.x] = i < count ? values[i] : 0.0f;
  __syncthreads();
  for (unsigned half = threads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) tree[threadIdx.x] += tree[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = tree[0];
}

__global__ void ask_warp(std::uint32_t* answers) {
  const unsigned lane = threadIdx.x;
  const auto answer = [&](int i, std::uint32_t value) { answers[lane + 32 * i] = value; };
  answer(0, __shfl_sync(all_lanes, lane * 10, 7));
  answer(1, __shfl_sync(all_lanes, lane * 10, 3, 8));
  answer(2, __shfl_up_sync(all_lanes, lane, 1));
  answer(3, __shfl_down_sync(all_lanes, lane, 2, 16));
  answer(4, __ballot_sync(all_lanes, lane % 3 == 0));
  answer(5, static_cast<std::uint32_t>(__shfl_xor_sync(all_lanes, (1ull << 40) + lane, 1) >> 10));
  // Each half of the warp on its own.
  const unsigned half_mask = lane < 16 ? 0xffffu : 0xffff0000u;
  answer(6, __shfl_sync(half_mask, lane, lane < 16 ? 5 : 20));
  answer(7, __any_sync(all_lanes, lane == 31) != 0 && __all_sync(all_lanes, lane < 32) != 0);
  __syncwarp();
  answer(8, __float_as_uint(__shfl_xor_sync(all_lanes, static_cast<float>(lane), 31)) +
                static_cast<std::uint32_t>(__popc(lane) + __ffs(8) + __clz(1)));
}

__global__ void round_trips(float* bf16, float* half, const float2* values, int pairs) {
  const int i = global_index();
  if (i >= pairs) return;
  const float2 pair = values[i];
  const __nv_bfloat162 narrow = __floats2bfloat162_rn(pair.x, pair.y);
  bf16[2 * i] = __low2float(narrow);
  bf16[2 * i + 1] = __bfloat162float(narrow.y);
  const __half2 other = __float22half2_rn(pair);
  half[2 * i] = __half22float2(other).x;
  half[2 * i + 1] = __half2float(__high2half(other));
}

__global__ void make_mistake(Mistake mistake, float* target) {
  __shared__ float exchanged[64];
  switch (mistake) {
    case Mistake::divergent_barrier:
      if (threadIdx.x == 5) return;
      __syncthreads();
      break;
    case Mistake::divergent_sites:
      if (threadIdx.x < 32) {
        __syncthreads();
      } else {
        __syncthreads();
      }
      break;
    case Mistake::missing_lane:
      if (threadIdx.x % 32 < 20) target[threadIdx.x] = __shfl_sync(all_lanes, 1.0f, 0);
      break;
    case Mistake::mask_without_caller:
      target[threadIdx.x] = __shfl_sync(0x1u, 1.0f, 0);
      break;
    case Mistake::write_past_end:
      target[64] = 1;
      break;
    case Mistake::missing_barrier:
      exchanged[threadIdx.x] = static_cast<float>(threadIdx.x);
      target[threadIdx.x] = exchanged[63 - threadIdx.x];
      exchanged[threadIdx.x] = -1;
      break;
    default:
      break;
  }
}

cudaLaunchConfig_t shape(unsigned grid, unsigned block, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid);
  config.blockDim = dim3(block);
  config.stream = stream;
  return config;
}

unsigned blocks_for(int count, int block_size) {
  return static_cast<unsigned>((count + block_size - 1) / block_size);
}

}  // namespace

cudaError_t launch_fill(float* target, int count, float value, int block_size, cudaStream_t stream) {
  const auto config = shape(blocks_for(count, block_size), static_cast<unsigned>(block_size), stream);
  return cudaLaunchKernelEx(&config, fill, target, count, value);
}

cudaError_t launch_add(float* target, const float* a, const float* b, int count, cudaStream_t stream) {
  const auto config = shape(2, threads, stream);
  return cudaLaunchKernelEx(&config, add, target, a, b, count);
}

cudaError_t launch_block_sums(float* sums, const float* values, int count, cudaStream_t stream) {
  const auto config = shape(blocks_for(count, threads), threads, stream);
  return cudaLaunchKernelEx(&config, block_sums, sums, values, count);
}

cudaError_t launch_tree_sums(float* sums, const float* values, int count, cudaStream_t stream) {
  const auto config = shape(blocks_for(count, threads), threads, stream);
  return cudaLaunchKernelEx(&config, tree_sums, sums, values, count);
}

cudaError_t launch_warp_answers(std::uint32_t* answers, cudaStream_t stream) {
  const auto config = shape(1, 32, stream);
  return cudaLaunchKernelEx(&config, ask_warp, answers);
}

cudaError_t launch_round_trips(float* bf16, float* half, const float2* values, int pairs,
                               cudaStream_t stream) {
  const auto config = shape(blocks_for(pairs, threads), threads, stream);
  return cudaLaunchKernelEx(&config, round_trips, bf16, half, values, pairs);
}

cudaError_t launch_mistake(Mistake mistake, float* target, cudaStream_t stream) {
  cudaLaunchConfig_t config = shape(1, 64, stream);
  if (mistake == Mistake::wide_block) config.blockDim = dim3(32, 33);
  if (mistake == Mistake::empty_grid) config.gridDim = dim3(0);
  if (mistake == Mistake::tall_grid) config.gridDim = dim3(1, 65536);
  return cudaLaunchKernelEx(&config, make_mistake, mistake, target);
}

}  // namespace gneiss::emulated_cuda
