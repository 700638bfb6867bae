// Sums of rows weighted head by head, and the way back of scores, which are such sums too. Included once per
// instruction set by the kernels of attention.
#if defined(GNEISS_HEAD_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GNEISS_HEAD_SUMS_INL_H_
#undef GNEISS_HEAD_SUMS_INL_H_
#else
#define GNEISS_HEAD_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/compute/cpu/attention_kernels.h"
#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

inline const std::uint32_t* own_rows(const BlockView& block) {
  return block.dst_in_src.empty() ? nullptr : block.dst_in_src.data();
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

// One destination after the other, so that its rows are still in L1 when the scores' gradients are known.
//   products(row, d, out)  sets out[h] to the row's product with the gradient of destination d and head h
template <class Load, class Products>
void score_gradients_of(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                        const AttentionRule& rule, const ConstEdgeValues& shares, RowRange dst,
                        const Products& products, const EdgeValues& d_scores, MatrixView d_destination,
                        MatrixView d_weight) {
  const std::size_t columns = rows.columns();
  const std::size_t heads = d_scores.heads();
  for (std::size_t row = 0; row < d_weight.rows; ++row) std::fill_n(d_weight.row(row), columns, 0.0F);
  const RowFinder find(rows);
  RowWalk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  RowWalk selves(rows, own_rows(block), dst.first, dst.last);
  HeadRun run;
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t first = block.indptr[d];
    const std::size_t last = block.indptr[d + 1];
    selves.advance_to(d + 1);
    run.rows.clear();
    run.push(selves.row(d), d_scores.loops.row(d));
    products(selves.row(d), d, d_scores.loops.row(d));
    for (std::size_t edge = first; edge < last; ++edge) {
      walk.advance_to(edge + 1);
      if (run.rows.room() > 0) run.push(walk.row(edge), d_scores.edges.row(edge));
      products(walk.row(edge), d, d_scores.edges.row(edge));
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

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
