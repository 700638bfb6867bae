#include "engine/compute/block_view.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

void transpose(BlockView& block, std::span<std::uint32_t> indptr, std::span<std::uint32_t> indices,
               std::span<std::uint32_t> edges) {
  GNEISS_ASSERT(indptr.size() == std::size_t{block.src_count} + 1);
  GNEISS_ASSERT(indices.size() == block.indices.size());
  GNEISS_ASSERT(edges.empty() || edges.size() == block.indices.size());
  std::ranges::fill(indptr, 0U);
  for (const std::uint32_t src : block.indices) ++indptr[src];
  // indptr[s] becomes the end of s's run, then counts down to its start as the run fills from its back.
  std::uint32_t end = 0;
  for (std::uint32_t& entry : indptr) entry = end += entry;
  for (std::uint32_t dst = block.dst_count; dst-- > 0;) {
    for (std::uint32_t edge = block.indptr[dst + 1]; edge-- > block.indptr[dst];) {
      const std::uint32_t place = --indptr[block.indices[edge]];
      indices[place] = dst;
      if (!edges.empty()) edges[place] = edge;
    }
  }
  block.transposed_indptr = indptr;
  block.transposed_indices = indices;
  block.transposed_edges = edges;
}

void check_block(const BlockView& block, const char* what) {
  if (block.indptr.size() != std::size_t{block.dst_count} + 1 || block.indptr.front() != 0 ||
      block.indptr.back() != block.indices.size() || !std::ranges::is_sorted(block.indptr)) {
    fail(Kind::corruption, "{}: the offsets of its {} destinations do not span its {} edges; prepare again",
         what, block.dst_count, block.indices.size());
  }
  const auto outside = [&](std::uint32_t src) { return src >= block.src_count; };
  if (std::ranges::any_of(block.indices, outside) || std::ranges::any_of(block.dst_in_src, outside)) {
    fail(Kind::corruption, "{}: an edge names a source outside the {} rows of the block; prepare again", what,
         block.src_count);
  }
  const bool prefix = block.dst_in_src.empty() && block.dst_count <= block.src_count;
  if (!prefix && block.dst_in_src.size() != block.dst_count) {
    fail(Kind::corruption, "{}: {} of {} destinations have a source row; prepare again", what,
         block.dst_in_src.size(), block.dst_count);
  }
}

}  // namespace gneiss
