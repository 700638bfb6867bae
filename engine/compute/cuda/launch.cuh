// Starts kernels: which threads work on which rows and columns, and the one way in which all are launched.
//
// Why:  cudaLaunchKernelEx() is a function and `<<<>>>` is not: so the same sources are plain C++ for the
//       emulated device that tests run them on (tests/emulated_cuda).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>

#include "engine/compute/cuda/check.h"
#include "storage/base/rounding.h"

namespace gneiss::cuda {

inline constexpr unsigned block_threads = 256;

struct Grid {
  dim3 blocks;
  dim3 threads;
};

// A thread for each of `count` elements; kernels stride on by the grid where there are more.
inline Grid flat_grid(std::size_t count) {
  constexpr std::size_t blocks_max = 1U << 20;
  const std::size_t blocks = std::min(divide_up(count, block_threads), blocks_max);
  return {dim3(static_cast<unsigned>(blocks)), dim3(block_threads)};
}

// A group of threads for each row, side by side over its columns, `vector` columns each: a warp for 128
// columns of f32, so that it loads a row in one instruction; wider rows take more warps, narrow ones share
// one.
//   threadIdx.x, blockDim.x  the thread in its group;  blockIdx.x * blockDim.y + threadIdx.y  the row
inline Grid row_grid(std::size_t rows, std::size_t columns, unsigned vector) {
  const std::size_t wanted = std::max<std::size_t>(1, divide_up(columns, vector));
  const auto lanes = static_cast<unsigned>(std::min<std::size_t>(block_threads, std::bit_ceil(wanted)));
  const unsigned rows_at_once = block_threads / lanes;
  return {dim3(static_cast<unsigned>(divide_up(rows, rows_at_once))), dim3(lanes, rows_at_once)};
}

// A warp for each of `count` rows, or groups of rows: where lanes exchange what they have.
//   threadIdx.x  the lane;  blockIdx.x * blockDim.y + threadIdx.y  the row: a warp leaves as a whole
inline Grid warp_grid(std::size_t count) {
  constexpr unsigned lanes = 32;
  constexpr unsigned warps = block_threads / lanes;
  return {dim3(static_cast<unsigned>(divide_up(count, warps))), dim3(lanes, warps)};
}

template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, const Grid& grid, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (grid.blocks.x == 0) return;  // of no rows
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...),
        "starting a kernel");
}

}  // namespace gneiss::cuda
