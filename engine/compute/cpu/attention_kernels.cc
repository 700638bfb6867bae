// Products of scattered rows with few others, sums of them weighted head by head, and the ways back.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/attention_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include <algorithm>
#include <array>

#include "engine/compute/cpu/attention_kernels.h"
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

const std::uint32_t* own_rows(const BlockView& block) {
  return block.dst_in_src.empty() ? nullptr : block.dst_in_src.data();
}

template <class Load, class Walk>
void row_products_of(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out) {
  Walk walk(rows, nullptr, range.first, range.last);
  for (std::size_t r = range.first; r < range.last; ++r) {
    walk.advance_to(r + 1);
    dots<Load>(walk.row(r), weight.data, weight.stride, weight.rows, weight.columns, out.row(r));
  }
}

// out[h] (+)= sum of rows [first, last) of the walk, times their factors for that head.
template <class Load, class Walk>
void add_heads(const Walk& walk, ConstMatrixView factors, std::size_t first, std::size_t last, bool continues,
               std::size_t columns, float* out, std::size_t stride) {
  for (std::size_t h = 0; h < factors.columns; ++h) {
    sum_rows<Load>(walk, StridedFactors{factors.row(first) + h, factors.stride}, first, last, columns,
                   continues, 1.0F, out + h * stride);
  }
}

template <class Load, class Walk>
void aggregate_of(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                  RowRange dst, MatrixView out) {
  const std::size_t columns = rows.columns();
  Walk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  Walk selves(rows, own_rows(block), dst.first, dst.last);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t last = block.indptr[d + 1];
    selves.advance_to(d + 1);
    add_heads<Load>(selves, weights.loops, d, d + 1, false, columns, out.row(d), columns);
    for (std::size_t run = block.indptr[d]; run < last; run += run_edges_max) {
      const std::size_t end = std::min(last, run + run_edges_max);
      walk.advance_to(end);
      add_heads<Load>(walk, weights.edges, run, end, true, columns, out.row(d), columns);
    }
  }
}

// The rows of one run of edges, found anew: the walk that fetched them is further on.
class FoundRows {
 public:
  FoundRows(const RowFinder& find, const std::uint32_t* ids, std::size_t first, std::size_t last)
      : first_(first) {
    for (std::size_t i = first; i < last; ++i) rows_[i - first] = find(ids[i]);
  }
  HWY_INLINE const std::byte* row(std::size_t index) const { return rows_[index - first_]; }

 private:
  std::size_t first_;
  std::array<const std::byte*, run_edges_max> rows_;
};

// One destination after the other, so that its rows are still in L1 when the scores' gradients are known.
template <class Load>
void score_gradients_of(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                        const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                        ConstMatrixView d_out, RowRange range, const EdgeValues& d_scores,
                        MatrixView d_destination, MatrixView d_weight) {
  const std::size_t columns = rows.columns();
  const std::size_t heads = d_scores.heads();
  const RowRange dst{first_dst + range.first, first_dst + range.last};
  for (std::size_t row = 0; row < d_weight.rows; ++row) std::fill_n(d_weight.row(row), columns, 0.0F);
  const RowFinder find(rows);
  RowWalk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  RowWalk selves(rows, own_rows(block), dst.first, dst.last);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const float* gradients = d_out.row(d - first_dst);
    const std::size_t last = block.indptr[d + 1];
    selves.advance_to(d + 1);
    dots<Load>(selves.row(d), gradients, columns, heads, columns, d_scores.loops.row(d));
    for (std::size_t edge = block.indptr[d]; edge < last; ++edge) {
      walk.advance_to(edge + 1);
      dots<Load>(walk.row(edge), gradients, columns, heads, columns, d_scores.edges.row(edge));
    }
    attention_softmax_gradient(block, scores, rule, shares, {d, d + 1}, d_scores, d_destination);
    add_heads<Load>(selves, d_scores.loops, d, d + 1, true, columns, d_weight.row(0), d_weight.stride);
    add_heads<Load>(selves, d_destination, d, d + 1, true, columns, d_weight.row(heads), d_weight.stride);
    for (std::size_t run = block.indptr[d]; run < last; run += run_edges_max) {
      const std::size_t end = std::min(last, run + run_edges_max);
      const FoundRows found(find, block.indices.data(), run, end);
      add_heads<Load>(found, d_scores.edges, run, end, true, columns, d_weight.row(0), d_weight.stride);
    }
  }
}

void row_products(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out) {
  with_rows(rows, [&]<class Load, class Walk>()
                      HWY_ATTR { row_products_of<Load, Walk>(rows, weight, range, out); });
}

void attention_aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                         RowRange dst, MatrixView out) {
  with_rows(rows, [&]<class Load, class Walk>()
                      HWY_ATTR { aggregate_of<Load, Walk>(rows, block, weights, dst, out); });
}

void attention_score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstMatrixView d_out, RowRange range,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight) {
  const auto with = [&]<class Load>(Load) HWY_ATTR {
    score_gradients_of<Load>(rows, block, scores, rule, shares, first_dst, d_out, range, d_scores,
                             d_destination, d_weight);
  };
  switch (rows.dtype()) {
    case Dtype::f16:
      return with(LoadF16());
    case Dtype::bf16:
      return with(LoadBf16());
    default:
      return with(LoadF32());
  }
}

// What reaches one source: rows of d_aggregate by the weights of its edges, and score_weight's rows by the
// sums of its scores' gradients.
class WayBack {
 public:
  WayBack(const BlockView& block, const ConstEdgeValues& weights, ConstMatrixView d_aggregate,
          const ConstEdgeValues& d_scores, ConstMatrixView d_destination, ConstMatrixView score_weight)
      : block_(block),
        weights_(weights),
        d_aggregate_(d_aggregate),
        d_scores_(d_scores),
        d_destination_(d_destination),
        score_weight_(score_weight),
        heads_(weights.heads()) {}

  void set_source(std::size_t src) {
    src_ = src;
    is_destination_ = src < block_.dst_count;
    for (std::size_t h = 0; h < heads_; ++h) {
      score_sums_[h] = is_destination_ ? d_scores_.loops(src, h) : 0.0F;
      score_sums_[heads_ + h] = is_destination_ ? d_destination_(src, h) : 0.0F;
    }
    for (std::uint32_t t = block_.transposed_indptr[src]; t < block_.transposed_indptr[src + 1]; ++t) {
      const float* gradients = d_scores_.edges.row(block_.transposed_edges[t]);
      for (std::size_t h = 0; h < heads_; ++h) score_sums_[h] += gradients[h];
    }
  }

  // Calls add(factor, row) for each row of the sum.
  template <class Add>
  HWY_INLINE void for_rows(std::size_t columns, const Add& add) const {
    if (is_destination_) add_heads(weights_.loops.row(src_), d_aggregate_.row(src_), columns, add);
    for (std::uint32_t t = block_.transposed_indptr[src_]; t < block_.transposed_indptr[src_ + 1]; ++t) {
      add_heads(weights_.edges.row(block_.transposed_edges[t]),
                d_aggregate_.row(block_.transposed_indices[t]), columns, add);
    }
    const std::size_t scored = is_destination_ ? 2 * heads_ : heads_;
    for (std::size_t i = 0; i < scored; ++i) add(score_sums_[i], score_weight_.row(i));
  }

 private:
  template <class Add>
  HWY_INLINE void add_heads(const float* weights, const float* rows, std::size_t columns,
                            const Add& add) const {
    for (std::size_t h = 0; h < heads_; ++h) add(weights[h], rows + h * columns);
  }

  const BlockView& block_;
  ConstEdgeValues weights_;
  ConstMatrixView d_aggregate_;
  ConstEdgeValues d_scores_;
  ConstMatrixView d_destination_;
  ConstMatrixView score_weight_;
  std::size_t heads_;
  std::size_t src_ = 0;
  bool is_destination_ = false;
  std::array<float, 2 * attention_heads_max> score_sums_{};
};

// One source row's gradient, columns [column, column + Vectors * lanes).
template <std::size_t Vectors>
HWY_INLINE void way_back_tile(const WayBack& back, const float* activated, const EpilogueGradient& through,
                              std::size_t columns, std::size_t column, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) sums[v] = hn::Zero(d);
  back.for_rows(columns, [&](float factor, const float* row) HWY_ATTR {
    const FloatVector factors = hn::Set(d, factor);
    for (std::size_t v = 0; v < Vectors; ++v) {
      sums[v] = hn::MulAdd(hn::LoadU(d, row + column + v * lanes), factors, sums[v]);
    }
  });
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t at = column + v * lanes;
    hn::StoreU(through(sums[v], hn::LoadU(d, activated + at), at), d, out + at);
  }
}

void attention_input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz) {
  const Floats d;
  const std::size_t lanes = lane_count();
  const std::size_t columns = dz.columns;
  EpilogueGradient through(epilogue);
  WayBack back(block, weights, d_aggregate, d_scores, d_destination, score_weight);
  for (std::size_t s = src.first; s < src.last; ++s) {
    const float* act = activated.row(s);
    float* out = dz.row(s);
    through.set_row(s);
    back.set_source(s);
    std::size_t column = 0;
    for (; column + 8 * lanes <= columns; column += 8 * lanes) {
      way_back_tile<8>(back, act, through, columns, column, out);
    }
    for (; column + lanes <= columns; column += lanes) {
      way_back_tile<1>(back, act, through, columns, column, out);
    }
    if (const std::size_t rest = columns - column; rest != 0) {
      FloatVector sum = hn::Zero(d);
      back.for_rows(columns, [&](float factor, const float* row) HWY_ATTR {
        sum = hn::MulAdd(load_tail(row + column, rest), hn::Set(d, factor), sum);
      });
      store_tail(through(sum, load_tail(act + column, rest), column), out + column, rest);
    }
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(row_products);
HWY_EXPORT(attention_aggregate);
HWY_EXPORT(attention_score_gradients);
HWY_EXPORT(attention_input_gradient);

void row_products(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out) {
  HWY_DYNAMIC_DISPATCH(row_products)(rows, weight, range, out);
}
void attention_aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                         RowRange dst, MatrixView out) {
  HWY_DYNAMIC_DISPATCH(attention_aggregate)(rows, block, weights, dst, out);
}
void attention_score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstMatrixView d_out, RowRange range,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight) {
  HWY_DYNAMIC_DISPATCH(attention_score_gradients)
  (rows, block, scores, rule, shares, first_dst, d_out, range, d_scores, d_destination, d_weight);
}
void attention_input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz) {
  HWY_DYNAMIC_DISPATCH(attention_input_gradient)
  (block, weights, d_aggregate, d_scores, d_destination, score_weight, activated, epilogue, src, dz);
}

}  // namespace gneiss::cpu
#endif
