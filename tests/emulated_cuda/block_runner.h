// Runs the blocks of a grid, one after another, and the threads of a block as fibers.
//
// Why:     a thread that meets no barrier runs to its end and the next one runs in the same fiber, so such a
//          kernel costs little more than a loop. Only who waits keeps its stack.
// Order:   blocks and threads begin first to last or last to first, as `order` says: numbers that depend on
//          it change with the seed.
// Threads: one grid at a time, under the emulator's lock.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/emulated_cuda/include/vector_types.h"

namespace gneiss::emulated_cuda {

struct GridRun {
  std::string kernel;
  dim3 grid_size;
  dim3 block_size;
  const std::function<void()>* thread;
  bool last_block_first;
  bool last_thread_first;
};

// Ends the program when threads wait for others that will not come.
void run_grid(const GridRun& run);

// Where execution is: "kernel scale, block (1, 0, 0), thread (5, 0, 0)"; empty outside of kernels.
std::string describe_place();

}  // namespace gneiss::emulated_cuda
