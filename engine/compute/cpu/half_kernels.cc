// Attention over rows kept as bf16: rounding, sums weighted head by head, and products of pairs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/half_kernels.cc"
#include <hwy/foreach_target.h>  // only to share the walks: what follows is for one instruction set
//
#include <hwy/highway.h>
#include <immintrin.h>

#include "engine/compute/cpu/half_kernels.h"
#include "engine/compute/cpu/head_sums-inl.h"
#include "engine/compute/cpu/row_dots-inl.h"
#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

// GCC 12 takes what its own intrinsics leave undefined on purpose for a mistake (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#if HWY_TARGET == HWY_AVX3
// Highway 1.0 knows no AVX512_BF16: on top of what it would switch on. Lambdas name it themselves.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
#define GNEISS_BF16_ATTR __attribute__((target(HWY_TARGET_STR ",avx512bf16")))
namespace gneiss::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t line_halves = 32;
constexpr std::size_t lanes = 16;

inline __m512i rounded(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

inline __m512 widened(const std::uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Past the caches: what is written here is read after hundreds of MiB have passed, and a line that is written
// whole need not be read before.
inline void put(std::uint16_t* to, __m512i halves) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), halves);
}

template <class Load>
inline void keep_row(const std::byte* row, std::size_t columns, std::uint16_t* to) {
  std::size_t column = 0;
  for (; column + line_halves <= columns; column += line_halves) {
    put(to + column, rounded(Load::full(row, column).raw, Load::full(row, column + lanes).raw));
  }
  if (column == columns) return;
  const std::size_t rest = columns - column;
  const __m512 low = rest >= lanes ? Load::full(row, column).raw : Load::tail(row, column, rest).raw;
  const __m512 high = rest > lanes ? Load::tail(row, column + lanes, rest - lanes).raw : _mm512_setzero_ps();
  put(to + column, rounded(low, high));
}

// out[i] = row . others[i]. Pairs of columns are summed at once, in f32.
template <std::size_t Count>
inline void half_dots_tile(const std::uint16_t* row, const std::uint16_t* others, std::size_t stride,
                           std::size_t columns, float* out) {
  __m512 sums[Count];
  for (std::size_t i = 0; i < Count; ++i) sums[i] = _mm512_setzero_ps();
  for (std::size_t column = 0; column < columns; column += line_halves) {
    const __m512i x = _mm512_loadu_si512(row + column);
    for (std::size_t i = 0; i < Count; ++i) {
      const __m512i y = _mm512_loadu_si512(others + i * stride + column);
      sums[i] = _mm512_dpbf16_ps(sums[i], reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(y));
    }
  }
  if constexpr (Count == 4) {
    const FloatVector four[4] = {FloatVector{sums[0]}, FloatVector{sums[1]}, FloatVector{sums[2]},
                                 FloatVector{sums[3]}};
    sum_lanes(four, out);
  } else {
    for (std::size_t i = 0; i < Count; ++i) out[i] = _mm512_reduce_add_ps(sums[i]);
  }
}

// The rows that one destination's sums are of, and their weights: its own, then its neighbors'.
struct Summed {
  ConstHalfView rows;
  const BlockView& block;
  const ConstEdgeValues& weights;
  std::size_t own_row;
  std::size_t dst;
};

// Columns [column, column + Vectors * lanes) for `Heads` heads: a row is read once for all of them, and
// nothing is stored before all are summed, however many.
template <std::size_t Heads, std::size_t Vectors>
inline void half_heads_tile(const Summed& summed, std::size_t head, std::size_t column, std::uint16_t* out,
                            std::size_t stride) {
  __m512 sums[Heads][Vectors];
  for (std::size_t h = 0; h < Heads; ++h) {
    for (std::size_t v = 0; v < Vectors; ++v) sums[h][v] = _mm512_setzero_ps();
  }
  const auto add = [&](std::size_t row, const float* factors) GNEISS_BF16_ATTR {
    const std::uint16_t* from = summed.rows.row(row) + column;
    __m512 values[Vectors];
    for (std::size_t v = 0; v < Vectors; ++v) values[v] = widened(from + v * lanes);
    for (std::size_t h = 0; h < Heads; ++h) {
      const __m512 factor = _mm512_set1_ps(factors[head + h]);
      for (std::size_t v = 0; v < Vectors; ++v) sums[h][v] = _mm512_fmadd_ps(values[v], factor, sums[h][v]);
    }
  };
  add(summed.own_row, summed.weights.loops.row(summed.dst));
  const std::size_t last = summed.block.indptr[summed.dst + 1];
  for (std::size_t edge = summed.block.indptr[summed.dst]; edge < last; ++edge) {
    add(summed.block.indices[edge], summed.weights.edges.row(edge));
  }
  for (std::size_t h = 0; h < Heads; ++h) {
    std::uint16_t* to = out + (head + h) * stride + column;
    for (std::size_t v = 0; v < Vectors; v += 2) put(to + v * lanes, rounded(sums[h][v], sums[h][v + 1]));
  }
}

template <std::size_t Heads>
inline void sum_halves(const Summed& summed, std::size_t head, std::size_t columns, std::uint16_t* out) {
  std::size_t column = 0;
  for (; column + 2 * line_halves <= columns; column += 2 * line_halves) {
    half_heads_tile<Heads, 4>(summed, head, column, out, columns);
  }
  if (column < columns) half_heads_tile<Heads, 2>(summed, head, column, out, columns);
}

TieredRows as_rows(ConstHalfView rows) {
  const std::size_t columns = half_columns(rows.columns);
  TieredRows tiered(Dtype::bf16, static_cast<std::uint32_t>(columns), rows.stride * sizeof(std::uint16_t));
  tiered.append(reinterpret_cast<const std::byte*>(rows.data), static_cast<std::uint32_t>(rows.rows));
  return tiered;
}

}  // namespace

void row_products_keeping(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out,
                          HalfView kept) {
  with_rows(rows, [&]<class Load, class Walk>() GNEISS_BF16_ATTR {
    const auto keep = [&](const std::byte* row, std::size_t index)
                          GNEISS_BF16_ATTR { keep_row<Load>(row, kept.columns, kept.row(index)); };
    row_products_of<Load, Walk>(rows, weight, range, out, keep);
  });
  _mm_sfence();
}

void aggregate_halves(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                      RowRange dst, HalfView out) {
  const std::size_t columns = half_columns(rows.columns);
  const TieredRows tiered = as_rows(rows);
  DenseRowWalk walk(tiered, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  DenseRowWalk selves(tiered, own_rows(block), dst.first, dst.last);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    selves.advance_to(d + 1);
    walk.advance_to(block.indptr[d + 1]);
    const Summed summed{rows, block, weights, block.dst_in_src.empty() ? d : block.dst_in_src[d], d};
    const std::size_t heads = weights.heads();
    std::size_t head = 0;
    for (; head + 4 <= heads; head += 4) sum_halves<4>(summed, head, columns, out.row(d));
    for (; head + 2 <= heads; head += 2) sum_halves<2>(summed, head, columns, out.row(d));
    if (head < heads) sum_halves<1>(summed, head, columns, out.row(d));
  }
  _mm_sfence();
}

void score_gradients_of_halves(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstHalfView d_out, RowRange dst,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight) {
  const std::size_t columns = half_columns(rows.columns);
  const std::size_t heads = d_scores.heads();
  const auto products = [&](const std::byte* row, std::size_t d, float* out) GNEISS_BF16_ATTR {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(row);
    const std::uint16_t* gradients = d_out.row(d - first_dst);
    std::size_t h = 0;
    for (; h + 4 <= heads; h += 4) {
      half_dots_tile<4>(halves, gradients + h * columns, columns, columns, out + h);
    }
    for (; h < heads; ++h) half_dots_tile<1>(halves, gradients + h * columns, columns, columns, out + h);
  };
  score_gradients_of<LoadBf16>(as_rows(rows), block, scores, rule, shares, dst, products, d_scores,
                               d_destination, d_weight);
}

void round_rows(ConstMatrixView values, HalfView out) {
  const std::size_t columns = half_columns(out.columns);
  for (std::size_t row = 0; row < values.rows; ++row) {
    const float* from = values.row(row);
    std::uint16_t* to = out.row(row);
    for (std::size_t column = 0; column < columns; column += line_halves) {
      _mm512_storeu_si512(to + column,
                          rounded(_mm512_loadu_ps(from + column), _mm512_loadu_ps(from + column + lanes)));
    }
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace gneiss::cpu {

void row_products_keeping(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out,
                          HalfView kept) {
  N_AVX3::row_products_keeping(rows, weight, range, out, kept);
}
void aggregate_halves(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                      RowRange dst, HalfView out) {
  N_AVX3::aggregate_halves(rows, block, weights, dst, out);
}
void score_gradients_of_halves(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstHalfView d_out, RowRange dst,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight) {
  N_AVX3::score_gradients_of_halves(rows, block, scores, rule, shares, first_dst, d_out, dst, d_scores,
                                    d_destination, d_weight);
}
void round_rows(ConstMatrixView values, HalfView out) { N_AVX3::round_rows(values, out); }

}  // namespace gneiss::cpu
#endif
