// The largest of a destination's neighbors, column by column, and the way back to the neighbor that it came
// from.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/max_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include <algorithm>

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// As f32 lanes: what is loaded is never computed with.
HWY_INLINE WordVector load_words(const std::uint32_t* p) { return hn::LoadU(Words(), p); }
HWY_INLINE WordVector load_words_tail(const std::uint32_t* p, std::size_t count) {
  return hn::BitCast(Words(), load_tail(reinterpret_cast<const float*>(p), count));
}
HWY_INLINE void store_words_tail(WordVector value, std::uint32_t* p, std::size_t count) {
  store_tail(hn::BitCast(Floats(), value), reinterpret_cast<float*>(p), count);
}

// The largest so far, and where it came from.
struct Best {
  FloatVector value;
  WordVector source;

  // Only what is larger takes its place: the first of equals stays. What is no number stays too, so that it
  // is seen at the end.
  template <bool Winners>
  HWY_INLINE void challenge(FloatVector other, std::uint32_t other_source) {
    const auto is_larger = hn::Or(hn::Gt(other, value), hn::IsNaN(other));
    value = hn::IfThenElse(is_larger, other, value);
    if constexpr (Winners) {
      source = hn::IfThenElse(hn::RebindMask(Words(), is_larger), hn::Set(Words(), other_source), source);
    }
  }
};

// Columns [column, column + Vectors * lanes) of rows [first, last) of one destination's neighbors.
template <class Load, bool Winners, std::size_t Vectors, class Walk>
HWY_INLINE void largest_tile(const Walk& walk, const std::uint32_t* sources, std::size_t first,
                             std::size_t last, bool continues, std::size_t column, float* out,
                             std::uint32_t* winners) {
  const Floats d;
  const std::size_t lanes = lane_count();
  Best best[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t at = column + v * lanes;
    best[v].value = continues ? hn::LoadU(d, out + at) : Load::full(walk.row(first), at);
    best[v].source = continues && Winners ? load_words(winners + at) : hn::Set(Words(), sources[first]);
  }
  for (std::size_t i = continues ? first : first + 1; i < last; ++i) {
    const std::byte* row = walk.row(i);
    for (std::size_t v = 0; v < Vectors; ++v) {
      best[v].template challenge<Winners>(Load::full(row, column + v * lanes), sources[i]);
    }
  }
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t at = column + v * lanes;
    hn::StoreU(best[v].value, d, out + at);
    if constexpr (Winners) hn::StoreU(best[v].source, Words(), winners + at);
  }
}

// Rows [first, last) of one destination's neighbors. `winners` is read and written with Winners only.
template <class Load, bool Winners, class Walk>
void largest_of(const Walk& walk, const std::uint32_t* sources, std::size_t first, std::size_t last,
                bool continues, std::size_t columns, float* out, std::uint32_t* winners) {
  const std::size_t lanes = lane_count();
  std::size_t column = 0;
  for (; column + 4 * lanes <= columns; column += 4 * lanes) {
    largest_tile<Load, Winners, 4>(walk, sources, first, last, continues, column, out, winners);
  }
  for (; column + lanes <= columns; column += lanes) {
    largest_tile<Load, Winners, 1>(walk, sources, first, last, continues, column, out, winners);
  }
  if (const std::size_t rest = columns - column; rest != 0) {
    Best best;
    best.value = continues ? load_tail(out + column, rest) : Load::tail(walk.row(first), column, rest);
    best.source =
        continues && Winners ? load_words_tail(winners + column, rest) : hn::Set(Words(), sources[first]);
    for (std::size_t i = continues ? first : first + 1; i < last; ++i) {
      best.template challenge<Winners>(Load::tail(walk.row(i), column, rest), sources[i]);
    }
    store_tail(best.value, out + column, rest);
    if constexpr (Winners) store_words_tail(best.source, winners + column, rest);
  }
}

template <class Load, class Walk>
void aggregate_max_of(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out,
                      IndexMatrixView winners) {
  const std::uint32_t* sources = block.indices.data();
  Walk walk(rows, sources, block.indptr[dst.first], block.indptr[dst.last]);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t first = block.indptr[d];
    const std::size_t last = block.indptr[d + 1];
    std::uint32_t* winner = winners.rows != 0 ? winners.row(d) : nullptr;
    if (first == last) {
      std::fill_n(out.row(d), out.columns, 0.0F);
      if (winner != nullptr) std::fill_n(winner, out.columns, no_source);
      continue;
    }
    for (std::size_t run = first; run < last; run += run_edges_max) {
      const std::size_t end = std::min(last, run + run_edges_max);
      walk.advance_to(end);
      if (winner != nullptr) {
        largest_of<Load, true>(walk, sources, run, end, run != first, out.columns, out.row(d), winner);
      } else {
        largest_of<Load, false>(walk, sources, run, end, run != first, out.columns, out.row(d), nullptr);
      }
    }
  }
}

void aggregate_max(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out,
                   IndexMatrixView winners) {
  with_rows(rows, [&]<class Load, class Walk>()
                      HWY_ATTR { aggregate_max_of<Load, Walk>(rows, block, dst, out, winners); });
}

// Calls add(d) for each destination of a source once: one that drew it twice stands twice in a row.
template <class Add>
HWY_INLINE void for_destinations(const BlockView& block, std::size_t src, const Add& add) {
  const std::uint32_t first = block.transposed_indptr[src];
  for (std::uint32_t t = first; t < block.transposed_indptr[src + 1]; ++t) {
    const std::uint32_t dst = block.transposed_indices[t];
    if (t == first || dst != block.transposed_indices[t - 1]) add(dst);
  }
}

void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners, ConstMatrixView d_aggregate,
                            ConstMatrixView d_self, ConstMatrixView activated, const Epilogue& epilogue,
                            RowRange src, MatrixView dz) {
  const Floats d;
  const Words words;
  const std::size_t lanes = lane_count();
  EpilogueGradient through(epilogue);
  for (std::size_t s = src.first; s < src.last; ++s) {
    const float* self = s < block.dst_count ? d_self.row(s) : nullptr;
    const float* act = activated.row(s);
    float* out = dz.row(s);
    through.set_row(s);
    const auto source = hn::Set(words, static_cast<std::uint32_t>(s));
    const auto won = [&](WordVector winner, FloatVector gradient) HWY_ATTR {
      return hn::IfThenElseZero(hn::RebindMask(d, hn::Eq(winner, source)), gradient);
    };
    std::size_t column = 0;
    for (; column + lanes <= dz.columns; column += lanes) {
      FloatVector sum = self != nullptr ? hn::LoadU(d, self + column) : hn::Zero(d);
      for_destinations(block, s, [&](std::uint32_t dst) HWY_ATTR {
        sum = hn::Add(
            sum, won(load_words(winners.row(dst) + column), hn::LoadU(d, d_aggregate.row(dst) + column)));
      });
      hn::StoreU(through(sum, hn::LoadU(d, act + column), column), d, out + column);
    }
    if (const std::size_t rest = dz.columns - column; rest != 0) {
      FloatVector sum = self != nullptr ? load_tail(self + column, rest) : hn::Zero(d);
      for_destinations(block, s, [&](std::uint32_t dst) HWY_ATTR {
        sum = hn::Add(sum, won(load_words_tail(winners.row(dst) + column, rest),
                               load_tail(d_aggregate.row(dst) + column, rest)));
      });
      store_tail(through(sum, load_tail(act + column, rest), column), out + column, rest);
    }
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(aggregate_max);
HWY_EXPORT(aggregate_max_gradient);

void aggregate_max(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out,
                   IndexMatrixView winners) {
  HWY_DYNAMIC_DISPATCH(aggregate_max)(rows, block, dst, out, winners);
}
void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners, ConstMatrixView d_aggregate,
                            ConstMatrixView d_self, ConstMatrixView activated, const Epilogue& epilogue,
                            RowRange src, MatrixView dz) {
  HWY_DYNAMIC_DISPATCH(aggregate_max_gradient)
  (block, winners, d_aggregate, d_self, activated, epilogue, src, dz);
}

}  // namespace gneiss::cpu
#endif
