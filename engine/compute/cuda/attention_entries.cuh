// What graph attention has for each destination: one entry for its loop and one for each neighbor.
#pragma once

#include "engine/compute/attention.h"
#include "engine/compute/cuda/epilogue.cuh"
#include "engine/compute/cuda/views.cuh"

namespace gneiss::cuda {

template <class T>
struct EdgeMatrices {
  Matrix<T> edges;
  Matrix<T> loops;

  explicit EdgeMatrices(const BasicEdgeValues<T>& values) : edges(values.edges), loops(values.loops) {}
  __device__ std::uint32_t heads() const { return loops.columns; }
};

// Entry 0 is the loop, neighbors follow in the sampler's order.
struct Entries {
  std::uint32_t dst;
  std::uint32_t own_row;
  std::uint32_t first_edge;
  std::uint32_t count;
  const std::uint32_t* indices;

  __device__ Entries(const Block& block, std::uint32_t dst_)
      : dst(dst_),
        own_row(block.row_of(dst_)),
        first_edge(block.indptr[dst_]),
        count(1 + block.degree(dst_)),
        indices(block.indices) {}

  __device__ std::uint32_t source(std::uint32_t entry) const {
    return entry == 0 ? own_row : indices[first_edge + entry - 1];
  }
  // The block's own edge from the destination to itself: the loop stands for it.
  __device__ bool is_skipped(std::uint32_t entry) const { return entry > 0 && source(entry) == own_row; }
  template <class T>
  __device__ T* values(const EdgeMatrices<T>& all, std::uint32_t entry) const {
    return entry == 0 ? all.loops.row(dst) : all.edges.row(first_edge + entry - 1);
  }
};

// AttentionRule as a kernel reads it.
struct Rule {
  float negative_slope;
  float weight_scale;
  Masks masks;

  explicit Rule(const AttentionRule& rule)
      : negative_slope(rule.negative_slope), weight_scale(rule.weight_scale), masks(rule.dropout) {}
  __device__ float slope(float score) const { return score > 0.0F ? 1.0F : negative_slope; }
  // `column` counts a destination's entries and heads.
  __device__ float weight_per_share(std::uint32_t row_key, std::uint32_t column) const {
    return masks.are_active() ? masks.apply(weight_scale, row_key, column) : weight_scale;
  }
};

}  // namespace gneiss::cuda
