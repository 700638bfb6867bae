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

// Vectors of a row that are summed for four heads at once: 16 sums where there are 32 registers.
constexpr std::size_t head_vectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

// The rows of a run and where each one's factors lie, head by head.
struct HeadRun {
  RunRows rows;
  std::array<const float*, run_edges_max> factors;

  HWY_INLINE void push(const std::byte* row, const float* of_row) {
    factors[rows.size()] = of_row;
    rows.push(row);
  }
};

// Columns [column, column + Vectors * lanes), or the first `rest` where it is not 0, for `Heads` heads: a row
// is read once for all of them.
template <class Load, std::size_t Heads, std::size_t Vectors>
HWY_INLINE void heads_tile(const HeadRun& run, std::size_t head, std::size_t column, std::size_t rest,
                           bool continues, float* out, std::size_t stride) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Heads][Vectors];
  for (std::size_t h = 0; h < Heads; ++h) {
    const float* from = out + (head + h) * stride + column;
    for (std::size_t v = 0; v < Vectors; ++v) {
      sums[h][v] = !continues  ? hn::Zero(d)
                   : rest != 0 ? load_tail(from, rest)
                               : hn::LoadU(d, from + v * lanes);
    }
  }
  for (std::size_t i = 0; i < run.rows.size(); ++i) {
    const std::byte* row = run.rows.row(i);
    const float* factors = run.factors[i] + head;
    FloatVector values[Vectors];
    for (std::size_t v = 0; v < Vectors; ++v) {
      values[v] = rest != 0 ? Load::tail(row, column, rest) : Load::full(row, column + v * lanes);
    }
    for (std::size_t h = 0; h < Heads; ++h) {
      const FloatVector factor = hn::Set(d, factors[h]);
      for (std::size_t v = 0; v < Vectors; ++v) sums[h][v] = hn::MulAdd(values[v], factor, sums[h][v]);
    }
  }
  for (std::size_t h = 0; h < Heads; ++h) {
    float* to = out + (head + h) * stride + column;
    for (std::size_t v = 0; v < Vectors; ++v) {
      if (rest != 0) {
        store_tail(sums[h][v], to, rest);
      } else {
        hn::StoreU(sums[h][v], d, to + v * lanes);
      }
    }
  }
}

// out[h] (+)= sum of the run's rows, times their factors for that head.
template <class Load>
void sum_heads(const HeadRun& run, std::size_t heads, std::size_t columns, bool continues, float* out,
               std::size_t stride) {
  const auto sum = [&]<std::size_t Heads>(std::size_t head) HWY_ATTR {
    constexpr std::size_t vectors = head_vectors * 4 / Heads;
    const std::size_t lanes = lane_count();
    std::size_t column = 0;
    for (; column + vectors * lanes <= columns; column += vectors * lanes) {
      heads_tile<Load, Heads, vectors>(run, head, column, 0, continues, out, stride);
    }
    for (; column + lanes <= columns; column += lanes) {
      heads_tile<Load, Heads, 1>(run, head, column, 0, continues, out, stride);
    }
    if (column != columns)
      heads_tile<Load, Heads, 1>(run, head, column, columns - column, continues, out, stride);
  };
  std::size_t head = 0;
  for (; head + 4 <= heads; head += 4) sum.template operator()<4>(head);
  for (; head + 2 <= heads; head += 2) sum.template operator()<2>(head);
  if (head < heads) sum.template operator()<1>(head);
}

template <class Load, class Walk>
void aggregate_of(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                  RowRange dst, MatrixView out) {
  const std::size_t columns = rows.columns();
  Walk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  Walk selves(rows, own_rows(block), dst.first, dst.last);
  HeadRun run;
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t last = block.indptr[d + 1];
    fetch_target(out, d + 1);
    selves.advance_to(d + 1);
    run.push(selves.row(d), weights.loops.row(d));
    std::size_t edge = block.indptr[d];
    for (bool continues = false; !continues || edge < last; continues = true) {
      const std::size_t end = std::min(last, edge + run.rows.room());
      walk.advance_to(end);
      for (; edge < end; ++edge) run.push(walk.row(edge), weights.edges.row(edge));
      sum_heads<Load>(run, weights.heads(), columns, continues, out.row(d), columns);
      run.rows.clear();
    }
  }
}

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
  HeadRun run;
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const float* gradients = d_out.row(d - first_dst);
    const std::size_t first = block.indptr[d];
    const std::size_t last = block.indptr[d + 1];
    selves.advance_to(d + 1);
    run.rows.clear();
    run.push(selves.row(d), d_scores.loops.row(d));
    dots<Load>(selves.row(d), gradients, columns, heads, columns, d_scores.loops.row(d));
    for (std::size_t edge = first; edge < last; ++edge) {
      walk.advance_to(edge + 1);
      if (run.rows.room() > 0) run.push(walk.row(edge), d_scores.edges.row(edge));
      dots<Load>(walk.row(edge), gradients, columns, heads, columns, d_scores.edges.row(edge));
    }
    attention_softmax_gradient(block, scores, rule, shares, {d, d + 1}, d_scores, d_destination);
    std::size_t edge = first + run.rows.size() - 1;
    sum_heads<Load>(run, heads, columns, true, d_weight.row(0), d_weight.stride);
    while (edge < last) {  // found anew: the walk that fetched them is further on
      run.rows.clear();
      for (; edge < last && run.rows.room() > 0; ++edge) {
        run.push(find(block.indices[edge]), d_scores.edges.row(edge));
      }
      sum_heads<Load>(run, heads, columns, true, d_weight.row(0), d_weight.stride);
    }
    run.rows.clear();
    run.push(selves.row(d), d_destination.row(d));
    sum_heads<Load>(run, heads, columns, true, d_weight.row(heads), d_weight.stride);
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
