// The factors of GCN's normalization: one pass over the edges, which aggregation then reads from the cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/scale_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

HWY_INLINE std::uint32_t row_of(const BlockView& block, std::size_t dst) {
  return block.dst_in_src.empty() ? static_cast<std::uint32_t>(dst) : block.dst_in_src[dst];
}

// The first `count` edges from `edge` on; reads no byte behind them.
HWY_INLINE WordVector load_words(const BlockView& block, std::size_t edge, std::size_t count) {
  const Words d;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN std::uint32_t lanes[hn::MaxLanes(Words())] = {};
  std::memcpy(lanes, block.indices.data() + edge, count * sizeof(std::uint32_t));
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, count), d, block.indices.data() + edge);
#endif
}

HWY_INLINE std::uint32_t self_loop_count(const BlockView& block, std::size_t dst) {
  const Words d;
  const std::size_t lanes = hn::Lanes(d);
  const std::uint32_t self = row_of(block, dst);
  const WordVector selves = hn::Set(d, self);
  std::size_t edge = block.indptr[dst];
  const std::size_t last = block.indptr[dst + 1];
  std::size_t count = 0;
  for (; edge + lanes <= last; edge += lanes) {
    count += hn::CountTrue(d, hn::Eq(hn::LoadU(d, block.indices.data() + edge), selves));
  }
  if (const std::size_t rest = last - edge; rest != 0) {
    count += hn::CountTrue(d, hn::And(hn::FirstN(d, rest), hn::Eq(load_words(block, edge, rest), selves)));
  }
  return static_cast<std::uint32_t>(count);
}

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

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(symmetric_scales);
HWY_EXPORT(self_loop_scales);

void symmetric_scales(const BlockView& block, RowRange dst, std::span<float> destination,
                      std::span<float> source) {
  HWY_DYNAMIC_DISPATCH(symmetric_scales)(block, dst, destination, source);
}
void self_loop_scales(const BlockView& block, std::span<const float> source, RowRange dst,
                      std::span<float> self) {
  HWY_DYNAMIC_DISPATCH(self_loop_scales)(block, source, dst, self);
}

}  // namespace gneiss::cpu
#endif
