// Products of four rows with four others, by a warp: each element that is loaded serves four of them.
#pragma once

#include "engine/compute/cuda/lanes.cuh"
#include "engine/compute/cuda/vectors.cuh"

namespace gneiss::cuda {

inline constexpr unsigned tile_rows = 4;

// Which of the products a lane has in the end; two lanes have the same.
struct TilePlace {
  unsigned row;
  unsigned other;
  bool is_first;  // of the two

  __device__ explicit TilePlace(unsigned lane)
      : row(lane / (2 * tile_rows)), other(lane / 2 % tile_rows), is_first(lane % 2 == 0) {}
};

// The product of rows[place.row] and others[place.other].
template <class T, unsigned N>
__device__ __forceinline__ float tile_product(const std::byte* const (&rows)[tile_rows],
                                              const float* const (&others)[tile_rows], std::uint32_t columns,
                                              unsigned lane) {
  float sums[tile_rows * tile_rows] = {};
  for (std::uint32_t c = lane * N; c < columns; c += warp_lanes * N) {
    Floats<N> x[tile_rows];
    for (unsigned i = 0; i < tile_rows; ++i) x[i] = load_row<T, N>(rows[i], c);
    for (unsigned j = 0; j < tile_rows; ++j) {
      const Floats<N> y = load<N>(others[j] + c);
      for (unsigned i = 0; i < tile_rows; ++i) {
        float& sum = sums[i * tile_rows + j];
        for (unsigned n = 0; n < N; ++n) sum = fmaf(x[i].at[n], y.at[n], sum);
      }
    }
  }
  return sum_each<tile_rows * tile_rows>(sums, lane);
}

// Of rows that a warp has to itself: narrow ones are shared by all lanes, not by few with many columns each.
inline VectorWidth width_for_warp(std::size_t columns) {
  VectorWidth width;
  width.at_most(columns / warp_lanes);
  return width;
}

}  // namespace gneiss::cuda
