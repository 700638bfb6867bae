// The factors of GCN's normalization: one pass over the edges, which aggregation then reads from the cache.
#include <cmath>

#include "engine/compute/cpu/kernels.h"

namespace gneiss::cpu {
namespace {

std::uint32_t row_of(const BlockView& block, std::size_t dst) {
  return block.dst_in_src.empty() ? static_cast<std::uint32_t>(dst) : block.dst_in_src[dst];
}

std::uint32_t self_loop_count(const BlockView& block, std::size_t dst) {
  const std::uint32_t self = row_of(block, dst);
  std::uint32_t count = 0;
  for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
    count += block.indices[edge] == self ? 1 : 0;
  }
  return count;
}

}  // namespace

void symmetric_scales(const BlockView& block, RowRange dst, std::span<float> destination,
                      std::span<float> source) {
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::uint32_t neighbors = block.degree(static_cast<std::uint32_t>(d)) - self_loop_count(block, d);
    destination[d] = 1.0F / std::sqrt(1.0F + static_cast<float>(neighbors));
    if (!source.empty()) source[row_of(block, d)] = destination[d];
  }
}

void self_loop_scales(const BlockView& block, std::span<const float> source, RowRange dst,
                      std::span<float> self) {
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const float own = source.empty() ? 1.0F : source[row_of(block, d)];
    self[d] = own * (1.0F - static_cast<float>(self_loop_count(block, d)));
  }
}

}  // namespace gneiss::cpu
