// One hop of a mini-batch: a bipartite CSR from destinations to local source ids.
//
// Memory: borrows; the spans lie in the batch's slot.
// Order:  a destination's neighbors stay in the sampler's order, whatever the tiers.
#pragma once

#include <cstdint>
#include <span>

namespace gneiss {

struct BlockView {
  std::uint32_t dst_count = 0;
  std::uint32_t src_count = 0;
  std::span<const std::uint32_t> indptr{};   // [dst_count + 1], from 0
  std::span<const std::uint32_t> indices{};  // [edge_count], local source ids
  // The local source row of each destination; empty: destinations are the first dst_count sources. Only
  // block 0 has it, for its sources are ordered by tier.
  std::span<const std::uint32_t> dst_in_src{};
  // The same edges by source, for the way back: [src_count + 1] and [edge_count] destinations, in ascending
  // order of edges. Needed for training in every block but block 0; made by transpose().
  std::span<const std::uint32_t> transposed_indptr{};
  std::span<const std::uint32_t> transposed_indices{};
  // Which edge each transposed one is, a position in `indices`: for what is stored edge by edge, as
  // attention's weights are. Empty: not wanted.
  std::span<const std::uint32_t> transposed_edges{};
  // Where each edge lies in graph.csc; empty unless edge weights, features or times are used.
  std::span<const std::uint64_t> edge_positions{};

  std::uint32_t edge_count() const noexcept { return static_cast<std::uint32_t>(indices.size()); }
  std::uint32_t degree(std::uint32_t dst) const noexcept { return indptr[dst + 1] - indptr[dst]; }
  bool is_transposed() const noexcept { return transposed_indptr.size() == std::size_t{src_count} + 1; }
};

// Fills the transposed edges of `block` by a stable counting sort and points the block at them.
//   indptr   [src_count + 1]
//   indices  [edge_count]
//   edges    [edge_count], or empty: not wanted
// Precondition: indices < src_count, as whoever read the block from a file has checked.
void transpose(BlockView& block, std::span<std::uint32_t> indptr, std::span<std::uint32_t> indices,
               std::span<std::uint32_t> edges = {});

// Throws Error(corruption) that names `what` unless the sizes fit, indptr ascends from 0 to edge_count and
// every source id is below src_count: a block from a file is never trusted.
void check_block(const BlockView& block, const char* what);

}  // namespace gneiss
