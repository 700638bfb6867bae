// What a thread of a kernel knows of its block, and how it waits for and exchanges with the others.
//
// Why:     the threads of a block are fibers; to wait is to let another fiber run.
// Misuse:  a barrier that not all threads reach at the same line of source, and a warp function that not all
//          lanes of its mask call, end the program with a message. CUDA excuses threads that have returned;
//          the emulator does not: what they would have said is undefined.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/emulated_cuda/include/vector_types.h"

namespace gneiss::emulated_cuda {

struct ThreadPlace {
  uint3 thread;
  uint3 block;
  dim3 block_size;
  dim3 grid_size;
};
extern ThreadPlace current_place;

struct CallSite {
  const char* file;
  int line;
};

enum class WarpCall : std::uint8_t {
  sync,
  shuffle,
  ballot,
  add,
  min_int,
  max_int,
  min_uint,
  max_uint,
  bit_and,
  bit_or,
  bit_xor
};
enum class BlockCall : std::uint8_t { sync, count, all, any };

// Waits for all threads of the block; returns what `call` makes of their values.
int meet_block(BlockCall call, int value, CallSite site);
// Waits for the lanes of `mask`; returns what `call` makes of their values. `source_lane` is for a shuffle;
// a lane outside the mask gives bits that read as NaN.
std::uint64_t meet_warp(WarpCall call, unsigned mask, std::uint64_t value, int source_lane, CallSite site);
int current_lane();
[[noreturn]] void trap(CallSite site);

template <class T>
T shuffle(unsigned mask, T value, int source_lane, CallSite site) {
  static_assert(std::is_arithmetic_v<T> || std::is_class_v<T>);
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet_warp(WarpCall::shuffle, mask, bits, source_lane, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace gneiss::emulated_cuda

// NOLINTBEGIN: the names are CUDA's.
inline const uint3& threadIdx = gneiss::emulated_cuda::current_place.thread;
inline const uint3& blockIdx = gneiss::emulated_cuda::current_place.block;
inline const dim3& blockDim = gneiss::emulated_cuda::current_place.block_size;
inline const dim3& gridDim = gneiss::emulated_cuda::current_place.grid_size;
inline constexpr int warpSize = 32;

// The default arguments give the line of the call.
#define GNEISS_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(GNEISS_SITE) {
  gneiss::emulated_cuda::meet_block(gneiss::emulated_cuda::BlockCall::sync, 0, {file, line});
}
inline int __syncthreads_count(int value, GNEISS_SITE) {
  return gneiss::emulated_cuda::meet_block(gneiss::emulated_cuda::BlockCall::count, value, {file, line});
}
inline int __syncthreads_and(int value, GNEISS_SITE) {
  return gneiss::emulated_cuda::meet_block(gneiss::emulated_cuda::BlockCall::all, value, {file, line});
}
inline int __syncthreads_or(int value, GNEISS_SITE) {
  return gneiss::emulated_cuda::meet_block(gneiss::emulated_cuda::BlockCall::any, value, {file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, GNEISS_SITE) {
  gneiss::emulated_cuda::meet_warp(gneiss::emulated_cuda::WarpCall::sync, mask, 0, 0, {file, line});
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, GNEISS_SITE) {
  const int lane = gneiss::emulated_cuda::current_lane();
  const int segment = lane & ~(width - 1);
  return gneiss::emulated_cuda::shuffle(mask, value, segment + (source & (width - 1)), {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GNEISS_SITE) {
  const int lane = gneiss::emulated_cuda::current_lane();
  const int source = lane - static_cast<int>(delta);
  const int segment = lane & ~(width - 1);
  return gneiss::emulated_cuda::shuffle(mask, value, source < segment ? lane : source, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GNEISS_SITE) {
  const int lane = gneiss::emulated_cuda::current_lane();
  const int source = lane + static_cast<int>(delta);
  const int segment_end = (lane & ~(width - 1)) + width;
  return gneiss::emulated_cuda::shuffle(mask, value, source >= segment_end ? lane : source, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, GNEISS_SITE) {
  const int lane = gneiss::emulated_cuda::current_lane();
  const int source = lane ^ lane_mask;
  const int segment_end = (lane & ~(width - 1)) + width;
  return gneiss::emulated_cuda::shuffle(mask, value, source >= segment_end ? lane : source, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, GNEISS_SITE) {
  return static_cast<unsigned>(gneiss::emulated_cuda::meet_warp(gneiss::emulated_cuda::WarpCall::ballot, mask,
                                                                predicate != 0, 0, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, GNEISS_SITE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, GNEISS_SITE) {
  return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

#define GNEISS_REDUCE(name, type, call)                                                               \
  inline type name(unsigned mask, type value, GNEISS_SITE) {                                          \
    return static_cast<type>(gneiss::emulated_cuda::meet_warp(                                        \
        gneiss::emulated_cuda::WarpCall::call, mask, static_cast<unsigned>(value), 0, {file, line})); \
  }
GNEISS_REDUCE(__reduce_add_sync, unsigned, add)
GNEISS_REDUCE(__reduce_add_sync, int, add)
GNEISS_REDUCE(__reduce_min_sync, unsigned, min_uint)
GNEISS_REDUCE(__reduce_min_sync, int, min_int)
GNEISS_REDUCE(__reduce_max_sync, unsigned, max_uint)
GNEISS_REDUCE(__reduce_max_sync, int, max_int)
GNEISS_REDUCE(__reduce_and_sync, unsigned, bit_and)
GNEISS_REDUCE(__reduce_or_sync, unsigned, bit_or)
GNEISS_REDUCE(__reduce_xor_sync, unsigned, bit_xor)
#undef GNEISS_REDUCE

// Every lane of a warp that still runs: here, those that exist, for lanes do not diverge until they wait.
// A kernel must not ask, so __activemask() is not emulated.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap(GNEISS_SITE) { gneiss::emulated_cuda::trap({file, line}); }
#undef GNEISS_SITE
// NOLINTEND
