// Products of scattered rows with few others, sums of them weighted head by head, and the ways back.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/attention_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include <algorithm>
#include <array>

#include "engine/compute/cpu/attention_kernels.h"
#include "engine/compute/cpu/half_kernels.h"
#include "engine/compute/cpu/head_sums-inl.h"
#include "engine/compute/cpu/row_dots-inl.h"
#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

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

void row_products(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out) {
  with_rows(rows, [&]<class Load, class Walk>() HWY_ATTR {
    row_products_of<Load, Walk>(rows, weight, range, out, [](const std::byte*, std::size_t) {});
  });
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
  const std::size_t columns = rows.columns();
  const std::size_t heads = d_scores.heads();
  const auto with = [&]<class Load>(Load) HWY_ATTR {
    const auto of_gradients = [&](const std::byte* row, std::size_t dst, float* out) HWY_ATTR {
      dots<Load>(row, d_out.row(dst - first_dst), columns, heads, columns, out);
    };
    score_gradients_of<Load>(rows, block, scores, rule, shares,
                             {first_dst + range.first, first_dst + range.last}, of_gradients, d_scores,
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

// The gradients of aggregates: row d's for head h, as Load reads them.
template <class Load>
struct AggregateGradients {
  const std::byte* data;
  std::size_t row_bytes;
  std::size_t head_bytes;
  HWY_INLINE const std::byte* operator()(std::size_t d, std::size_t h) const {
    return data + d * row_bytes + h * head_bytes;
  }
};

// What reaches one source: rows of d_aggregate by the weights of its edges, and score_weight's rows by the
// sums of its scores' gradients.
template <class Load>
class WayBack {
 public:
  WayBack(const BlockView& block, const ConstEdgeValues& weights, const AggregateGradients<Load>& d_aggregate,
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

  // Calls add(factor, row, how to load it) for each row of the sum.
  template <class Add>
  HWY_INLINE void for_rows(const Add& add) const {
    if (is_destination_) add_heads(weights_.loops.row(src_), src_, add);
    for (std::uint32_t t = block_.transposed_indptr[src_]; t < block_.transposed_indptr[src_ + 1]; ++t) {
      add_heads(weights_.edges.row(block_.transposed_edges[t]), block_.transposed_indices[t], add);
    }
    const std::size_t scored = is_destination_ ? 2 * heads_ : heads_;
    for (std::size_t i = 0; i < scored; ++i) {
      add(score_sums_[i], reinterpret_cast<const std::byte*>(score_weight_.row(i)), LoadF32());
    }
  }

 private:
  template <class Add>
  HWY_INLINE void add_heads(const float* weights, std::size_t d, const Add& add) const {
    for (std::size_t h = 0; h < heads_; ++h) add(weights[h], d_aggregate_(d, h), Load());
  }

  const BlockView& block_;
  ConstEdgeValues weights_;
  AggregateGradients<Load> d_aggregate_;
  ConstEdgeValues d_scores_;
  ConstMatrixView d_destination_;
  ConstMatrixView score_weight_;
  std::size_t heads_;
  std::size_t src_ = 0;
  bool is_destination_ = false;
  std::array<float, 2 * attention_heads_max> score_sums_{};
};

// One source row's gradient, columns [column, column + Vectors * lanes).
template <std::size_t Vectors, class Back>
HWY_INLINE void way_back_tile(const Back& back, const float* activated, const EpilogueGradient& through,
                              std::size_t column, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) sums[v] = hn::Zero(d);
  back.for_rows([&]<class Load>(float factor, const std::byte* row, Load) HWY_ATTR {
    const FloatVector factors = hn::Set(d, factor);
    for (std::size_t v = 0; v < Vectors; ++v) {
      sums[v] = hn::MulAdd(Load::full(row, column + v * lanes), factors, sums[v]);
    }
  });
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t at = column + v * lanes;
    hn::StoreU(through(sums[v], hn::LoadU(d, activated + at), at), d, out + at);
  }
}

template <class Back>
void way_back(Back back, ConstMatrixView activated, const Epilogue& epilogue, RowRange src, MatrixView dz) {
  const std::size_t lanes = lane_count();
  const std::size_t columns = dz.columns;
  EpilogueGradient through(epilogue);
  for (std::size_t s = src.first; s < src.last; ++s) {
    const float* act = activated.row(s);
    float* out = dz.row(s);
    through.set_row(s);
    back.set_source(s);
    std::size_t column = 0;
    for (; column + 8 * lanes <= columns; column += 8 * lanes) {
      way_back_tile<8>(back, act, through, column, out);
    }
    for (; column + lanes <= columns; column += lanes) way_back_tile<1>(back, act, through, column, out);
    if (const std::size_t rest = columns - column; rest != 0) {
      FloatVector sum = hn::Zero(Floats());
      back.for_rows([&]<class Load>(float factor, const std::byte* row, Load) HWY_ATTR {
        sum = hn::MulAdd(Load::tail(row, column, rest), hn::Set(Floats(), factor), sum);
      });
      store_tail(through(sum, load_tail(act + column, rest), column), out + column, rest);
    }
  }
}

void attention_input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz) {
  const AggregateGradients<LoadF32> gradients{reinterpret_cast<const std::byte*>(d_aggregate.data),
                                              d_aggregate.stride * sizeof(float), dz.columns * sizeof(float)};
  way_back(WayBack(block, weights, gradients, d_scores, d_destination, score_weight), activated, epilogue,
           src, dz);
}

void attention_input_gradient_halves(const BlockView& block, const ConstEdgeValues& weights,
                                     ConstHalfView d_aggregate, const ConstEdgeValues& d_scores,
                                     ConstMatrixView d_destination, ConstMatrixView score_weight,
                                     ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                                     MatrixView dz) {
  const AggregateGradients<LoadBf16> gradients{reinterpret_cast<const std::byte*>(d_aggregate.data),
                                               d_aggregate.stride * sizeof(std::uint16_t),
                                               half_columns(dz.columns) * sizeof(std::uint16_t)};
  way_back(WayBack(block, weights, gradients, d_scores, d_destination, score_weight), activated, epilogue,
           src, dz);
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(row_products);
HWY_EXPORT(attention_aggregate);
HWY_EXPORT(attention_score_gradients);
HWY_EXPORT(attention_input_gradient);
HWY_EXPORT(attention_input_gradient_halves);

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
void input_gradient_of_halves(const BlockView& block, const ConstEdgeValues& weights,
                              ConstHalfView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz) {
  HWY_DYNAMIC_DISPATCH(attention_input_gradient_halves)
  (block, weights, d_aggregate, d_scores, d_destination, score_weight, activated, epilogue, src, dz);
}

}  // namespace gneiss::cpu
#endif
