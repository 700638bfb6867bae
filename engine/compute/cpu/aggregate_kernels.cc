// Neighbor aggregation and its way back. The rows are scattered over more memory than any cache, so what
// counts is how many of their lines are on the way at once: pointers are resolved, and lines prefetched,
// a fixed number of edges ahead of the sums.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/aggregate_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include <algorithm>
#include <array>

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/row_walk-inl.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

template <class Load, class Walk>
void aggregate_mean_of(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out) {
  Walk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t first = block.indptr[d];
    const std::size_t last = block.indptr[d + 1];
    float* target = out.row(d);
    fetch_target(out, d + 1);
    if (first == last) {
      std::fill_n(target, out.columns, 0.0F);
      continue;
    }
    const float mean = 1.0F / static_cast<float>(last - first);
    for (std::size_t run = first; run < last; run += run_edges_max) {
      const std::size_t end = std::min(last, run + run_edges_max);
      walk.advance_to(end);
      sum_rows<Load>(walk, NoFactors(), run, end, out.columns, run != first, end == last ? mean : 1.0F,
                     target);
    }
  }
}

// EdgeScales, an element at a time.
class ScaledWeights {
 public:
  explicit ScaledWeights(const EdgeScales& scales) : scales_(scales) {}
  HWY_INLINE float destination(std::size_t dst) const {
    return scales_.destination.empty() ? 1.0F : scales_.destination[dst];
  }
  HWY_INLINE float source(std::size_t src, float destination_scale) const {
    if (scales_.source.empty()) return 1.0F;
    const float scale = scales_.source[src];
    return scale == 0.0F ? destination_scale : scale;
  }
  HWY_INLINE float self(std::size_t dst) const { return scales_.self.empty() ? 1.0F : scales_.self[dst]; }

 private:
  const EdgeScales& scales_;
};

// Without factors of sources: neighbors are added to their destination's own row, as for the mean.
template <class Load, class Walk>
void add_neighbors_to_self(const TieredRows& rows, const BlockView& block, const EdgeScales& scales,
                           RowRange dst, MatrixView out) {
  const ScaledWeights weights(scales);
  Walk walk(rows, block.indices.data(), block.indptr[dst.first], block.indptr[dst.last]);
  Walk selves(rows, block.dst_in_src.empty() ? nullptr : block.dst_in_src.data(), dst.first, dst.last);
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t first = block.indptr[d];
    const std::size_t last = block.indptr[d + 1];
    const float scale = weights.destination(d);
    const float self = weights.self(d);
    float* target = out.row(d);
    fetch_target(out, d + 1);
    selves.advance_to(d + 1);
    sum_rows<Load>(selves, RowFactors{&self}, d, d + 1, out.columns, false, first == last ? scale : 1.0F,
                   target);
    for (std::size_t run = first; run < last; run += run_edges_max) {
      const std::size_t end = std::min(last, run + run_edges_max);
      walk.advance_to(end);
      sum_rows<Load>(walk, NoFactors(), run, end, out.columns, true, end == last ? scale : 1.0F, target);
    }
  }
}

template <class Load, class Walk>
void aggregate_sum_of(const TieredRows& rows, const BlockView& block, const EdgeScales& scales, RowRange dst,
                      MatrixView out) {
  if (scales.source.empty()) return add_neighbors_to_self<Load, Walk>(rows, block, scales, dst, out);
  const ScaledWeights weights(scales);
  const std::size_t edges_end = block.indptr[dst.last];
  Walk walk(rows, block.indices.data(), block.indptr[dst.first], edges_end);
  Walk selves(rows, block.dst_in_src.empty() ? nullptr : block.dst_in_src.data(), dst.first, dst.last);
  std::size_t weights_asked = block.indptr[dst.first];
  RunRows run;  // a destination's own row, then its neighbors'
  std::array<float, run_edges_max> factors;
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    const std::size_t last = block.indptr[d + 1];
    const float scale = weights.destination(d);
    fetch_target(out, d + 1);
    selves.advance_to(d + 1);
    run.clear();
    factors[0] = weights.self(d);
    run.push(selves.row(d));
    std::size_t edge = block.indptr[d];
    for (bool continues = false; !continues || edge < last; continues = true) {
      const std::size_t end = std::min(last, edge + run.room());
      walk.advance_to(end);
      for (const std::size_t until = std::min(edges_end, end + prefetch_rows_max); weights_asked < until;) {
        __builtin_prefetch(&scales.source[block.indices[weights_asked++]]);
      }
      for (; edge < end; ++edge) {
        factors[run.size()] = weights.source(block.indices[edge], scale);
        run.push(walk.row(edge));
      }
      sum_rows<Load>(run, RowFactors{factors.data()}, 0, run.size(), out.columns, continues,
                     end == last ? scale : 1.0F, out.row(d));
      run.clear();
    }
  }
}

template <class Load, class Walk>
void gather_of(const TieredRows& rows, std::span<const std::uint32_t> row_ids, RowRange range,
               MatrixView out) {
  Walk walk(rows, row_ids.empty() ? nullptr : row_ids.data(), range.first, range.last);
  for (std::size_t i = range.first; i < range.last; ++i) {
    walk.advance_to(i + 1);
    sum_rows<Load>(walk, NoFactors(), i, i + 1, out.columns, false, 1.0F, out.row(i));
  }
}

void aggregate_mean(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out) {
  with_rows(rows,
            [&]<class Load, class Walk>() HWY_ATTR { aggregate_mean_of<Load, Walk>(rows, block, dst, out); });
}

void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales, RowRange dst,
                   MatrixView out) {
  with_rows(rows, [&]<class Load, class Walk>()
                      HWY_ATTR { aggregate_sum_of<Load, Walk>(rows, block, scales, dst, out); });
}

void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, RowRange range, MatrixView out) {
  with_rows(rows,
            [&]<class Load, class Walk>() HWY_ATTR { gather_of<Load, Walk>(rows, row_ids, range, out); });
}

// What the gradients that reach a source are multiplied by, for each kind of aggregation.
class MeanWayBack {
 public:
  explicit MeanWayBack(const BlockView& block) : block_(block) {}
  HWY_INLINE void set_source(std::size_t) {}
  HWY_INLINE float edge(std::uint32_t dst) const { return 1.0F / static_cast<float>(block_.degree(dst)); }
  HWY_INLINE FloatVector self(FloatVector gradient) const { return gradient; }

 private:
  const BlockView& block_;
};

class SumWayBack {
 public:
  SumWayBack(const BlockView& block, const EdgeScales& scales) : block_(block), weights_(scales) {}
  HWY_INLINE void set_source(std::size_t src) {
    src_ = src;
    self_ = src < block_.dst_count ? weights_.destination(src) * weights_.self(src) : 0.0F;
  }
  HWY_INLINE float edge(std::uint32_t dst) const {
    const float scale = weights_.destination(dst);
    return scale * weights_.source(src_, scale);
  }
  HWY_INLINE FloatVector self(FloatVector gradient) const {
    return hn::Mul(gradient, hn::Set(Floats(), self_));
  }

 private:
  const BlockView& block_;
  ScaledWeights weights_;
  std::size_t src_ = 0;
  float self_ = 0;
};

// One source row's gradient, columns [column, column + Vectors * lanes).
template <std::size_t Vectors, class WayBack>
HWY_INLINE void gradient_tile(const BlockView& block, const WayBack& back, ConstMatrixView d_aggregate,
                              const float* self, const float* activated, const EpilogueGradient& through,
                              std::size_t src, std::size_t column, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) {
    sums[v] = self != nullptr ? back.self(hn::LoadU(d, self + column + v * lanes)) : hn::Zero(d);
  }
  const std::uint32_t last = block.transposed_indptr[src + 1];
  for (std::uint32_t edge = block.transposed_indptr[src]; edge < last; ++edge) {
    const std::uint32_t dst = block.transposed_indices[edge];
    const FloatVector weight = hn::Set(d, back.edge(dst));
    const float* row = d_aggregate.row(dst) + column;
    for (std::size_t v = 0; v < Vectors; ++v) {
      sums[v] = hn::MulAdd(hn::LoadU(d, row + v * lanes), weight, sums[v]);
    }
  }
  for (std::size_t v = 0; v < Vectors; ++v) {
    const std::size_t at = column + v * lanes;
    hn::StoreU(through(sums[v], hn::LoadU(d, activated + at), at), d, out + at);
  }
}

template <class WayBack>
void gradient_of(const BlockView& block, WayBack back, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                 ConstMatrixView activated, const Epilogue& epilogue, RowRange src, MatrixView dz) {
  const Floats d;
  const std::size_t lanes = lane_count();
  const std::size_t columns = dz.columns;
  EpilogueGradient through(epilogue);
  for (std::size_t s = src.first; s < src.last; ++s) {
    const float* self = s < block.dst_count ? d_self.row(s) : nullptr;
    const float* act = activated.row(s);
    float* out = dz.row(s);
    through.set_row(s);
    back.set_source(s);
    std::size_t column = 0;
    for (; column + 8 * lanes <= columns; column += 8 * lanes) {
      gradient_tile<8>(block, back, d_aggregate, self, act, through, s, column, out);
    }
    for (; column + lanes <= columns; column += lanes) {
      gradient_tile<1>(block, back, d_aggregate, self, act, through, s, column, out);
    }
    if (const std::size_t rest = columns - column; rest != 0) {
      FloatVector sum = self != nullptr ? back.self(load_tail(self + column, rest)) : hn::Zero(d);
      for (std::uint32_t e = block.transposed_indptr[s]; e < block.transposed_indptr[s + 1]; ++e) {
        const std::uint32_t dst = block.transposed_indices[e];
        const FloatVector weight = hn::Set(d, back.edge(dst));
        sum = hn::MulAdd(load_tail(d_aggregate.row(dst) + column, rest), weight, sum);
      }
      store_tail(through(sum, load_tail(act + column, rest), column), out + column, rest);
    }
  }
}

void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                             ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                             MatrixView dz) {
  gradient_of(block, MeanWayBack(block), d_aggregate, d_self, activated, epilogue, src, dz);
}

void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                            ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                            MatrixView dz) {
  gradient_of(block, SumWayBack(block, scales), d_aggregate, d_aggregate, activated, epilogue, src, dz);
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(aggregate_mean);
HWY_EXPORT(aggregate_sum);
HWY_EXPORT(gather);
HWY_EXPORT(aggregate_mean_gradient);
HWY_EXPORT(aggregate_sum_gradient);

void aggregate_mean(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out) {
  HWY_DYNAMIC_DISPATCH(aggregate_mean)(rows, block, dst, out);
}
void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales, RowRange dst,
                   MatrixView out) {
  HWY_DYNAMIC_DISPATCH(aggregate_sum)(rows, block, scales, dst, out);
}
void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, RowRange range, MatrixView out) {
  HWY_DYNAMIC_DISPATCH(gather)(rows, row_ids, range, out);
}
void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                             ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                             MatrixView dz) {
  HWY_DYNAMIC_DISPATCH(aggregate_mean_gradient)
  (block, d_aggregate, d_self, activated, epilogue, src, dz);
}
void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                            ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                            MatrixView dz) {
  HWY_DYNAMIC_DISPATCH(aggregate_sum_gradient)
  (block, scales, d_aggregate, activated, epilogue, src, dz);
}

}  // namespace gneiss::cpu
#endif
