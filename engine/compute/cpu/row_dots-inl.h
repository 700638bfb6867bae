// Products of one row with few others. Included once per instruction set by the kernels of attention.
#if defined(GNEISS_ROW_DOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GNEISS_ROW_DOTS_INL_H_
#undef GNEISS_ROW_DOTS_INL_H_
#else
#define GNEISS_ROW_DOTS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>

#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// out[i] = the sum of sums[i]'s lanes, for four at once: each by itself costs as much as its product.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void sum_lanes(const FloatVector* sums, float* out) {
  for (std::size_t i = 0; i < 4; ++i) out[i] = hn::GetLane(sums[i]);
}
#else
HWY_INLINE void sum_lanes(const FloatVector* sums, float* out) {
  const Floats d;
  const hn::RepartitionToWide<Floats> wide;
  const auto halves = [&](FloatVector a, FloatVector b) HWY_ATTR {  // a0 + a2, b0 + b2, a1 + a3, b1 + b3
    return hn::BitCast(wide, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto first = halves(sums[0], sums[1]);
  const auto second = halves(sums[2], sums[3]);
  HWY_ALIGN float blocks[hn::MaxLanes(d)];
  hn::Store(hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, first, second)),
                    hn::BitCast(d, hn::InterleaveUpper(wide, first, second))),
            d, blocks);
  const hn::CappedTag<float, 4> four;
  auto sum = hn::Load(four, blocks);
  for (std::size_t lane = 4; lane < lane_count(); lane += 4)
    sum = hn::Add(sum, hn::Load(four, blocks + lane));
  hn::StoreU(sum, four, out);
}
#endif

// Products of one row with `Count` others, `stride` apart: the row is read once for all of them.
template <class Load, std::size_t Count>
HWY_INLINE void dot_tile(const std::byte* row, const float* others, std::size_t stride, std::size_t columns,
                         float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Count];
  for (std::size_t i = 0; i < Count; ++i) sums[i] = hn::Zero(d);
  std::size_t column = 0;
  for (; column + lanes <= columns; column += lanes) {
    const FloatVector x = Load::full(row, column);
    for (std::size_t i = 0; i < Count; ++i) {
      sums[i] = hn::MulAdd(x, hn::LoadU(d, others + i * stride + column), sums[i]);
    }
  }
  if (const std::size_t rest = columns - column; rest != 0) {
    const FloatVector x = Load::tail(row, column, rest);
    for (std::size_t i = 0; i < Count; ++i) {
      sums[i] = hn::MulAdd(x, load_tail(others + i * stride + column, rest), sums[i]);
    }
  }
  if constexpr (Count == 4) {
    sum_lanes(sums, out);
  } else {
    for (std::size_t i = 0; i < Count; ++i) out[i] = hn::GetLane(hn::SumOfLanes(d, sums[i]));
  }
}

template <class Load>
HWY_INLINE void dots(const std::byte* row, const float* others, std::size_t stride, std::size_t count,
                     std::size_t columns, float* out) {
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) dot_tile<Load, 4>(row, others + i * stride, stride, columns, out + i);
  for (; i < count; ++i) dot_tile<Load, 1>(row, others + i * stride, stride, columns, out + i);
}

// out = rows . weight^T. keep(row, index) has each row while it is in L1.
template <class Load, class Walk, class Keep>
void row_products_of(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out,
                     const Keep& keep) {
  Walk walk(rows, nullptr, range.first, range.last);
  for (std::size_t r = range.first; r < range.last; ++r) {
    walk.advance_to(r + 1);
    dots<Load>(walk.row(r), weight.data, weight.stride, weight.rows, weight.columns, out.row(r));
    keep(walk.row(r), r);
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
