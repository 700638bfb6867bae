// Sums over the lanes of a warp, in an order that is always the same. All lanes of the warp must call.
#pragma once

#include <cuda_runtime.h>

namespace gneiss::cuda {

inline constexpr unsigned warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xFFFFFFFFU;

// Over groups of `lanes` consecutive lanes, a power of two; every lane gets its group's.
__device__ __forceinline__ float sum_of_lanes(float x, unsigned lanes) {
  for (unsigned offset = lanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(all_lanes, x, offset);
  return x;
}

// Over the lanes that have the same place among `period` consecutive ones, a power of two.
__device__ __forceinline__ float sum_of_same_lanes(float x, unsigned period) {
  for (unsigned offset = warp_lanes / 2; offset >= period; offset /= 2) {
    x += __shfl_xor_sync(all_lanes, x, offset);
  }
  return x;
}
__device__ __forceinline__ float max_of_same_lanes(float x, unsigned period) {
  for (unsigned offset = warp_lanes / 2; offset >= period; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(all_lanes, x, offset));
  }
  return x;
}

// Sums of `Count` values over the whole warp: lane l gets that of x[l * Count / 32]. Each step halves what a
// lane still has to sum, for a lane gives away the half that its partner keeps: 16 exchanges for 16 values,
// where one value after the other takes 80.
template <unsigned Count, unsigned Offset = warp_lanes / 2, unsigned Size>
__device__ __forceinline__ float sum_each(float (&x)[Size], unsigned lane) {
  static_assert(Count <= Size && Count <= warp_lanes);
  if constexpr (Count > 1) {
    constexpr unsigned half = Count / 2;
    const bool is_upper = (lane & Offset) != 0;
    for (unsigned i = 0; i < half; ++i) {
      const float given = is_upper ? x[i] : x[i + half];
      const float kept = is_upper ? x[i + half] : x[i];
      x[i] = kept + __shfl_xor_sync(all_lanes, given, Offset);
    }
    return sum_each<half, Offset / 2>(x, lane);
  } else {
    return sum_of_lanes(x[0], 2 * Offset);
  }
}

}  // namespace gneiss::cuda
