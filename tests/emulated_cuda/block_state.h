// The block that runs: its threads, who of them waits for what, and who may go on.
//
// Threads: under the emulator's lock, as all of the emulator's state.
#pragma once

#include <array>
#include <cstdint>

#include "tests/emulated_cuda/block_runner.h"
#include "tests/emulated_cuda/fiber.h"
#include "tests/emulated_cuda/include/block_functions.h"

namespace gneiss::emulated_cuda {

inline constexpr unsigned threads_max = 1024;
inline constexpr unsigned lanes_per_warp = 32;

enum class ThreadState : std::uint8_t { not_started, running, at_barrier, at_warp_call, finished };

struct ThreadRecord {
  Context* context = nullptr;  // the fiber it runs in
  ThreadState state = ThreadState::not_started;
  uint3 index;
  CallSite site;  // where it waits
  // What it brought to a barrier or warp call, and what it got.
  BlockCall block_call;
  WarpCall warp_call;
  unsigned mask;
  int source_lane;
  std::uint64_t value;
  std::uint64_t result;
};

struct BlockState {
  const GridRun* run = nullptr;
  unsigned thread_count = 0;
  unsigned started = 0;
  unsigned finished = 0;
  unsigned at_barrier = 0;
  unsigned current = 0;  // the thread that runs
  std::array<ThreadRecord, threads_max> threads;
  // The lanes of each warp that wait at a warp call.
  std::array<unsigned, threads_max / lanes_per_warp> lanes_waiting{};
  // Threads that waited and may go on, first come first served: a ring, for each is in it at most once.
  std::array<std::uint16_t, threads_max> ready;
  unsigned ready_begin = 0;
  unsigned ready_count = 0;
};

extern BlockState block;

// The calling thread's record is filled; runs others until it is its turn again.
void wait_for_turn();
// `thread` may go on.
void make_ready(unsigned thread);

}  // namespace gneiss::emulated_cuda
