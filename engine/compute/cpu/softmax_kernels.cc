// The softmax over a destination's edges and loop, and its way back: one number an edge and head, where the
// rows that the weights are for have hundreds. What takes time are the scores, which lie anywhere, so lines
// are fetched ahead; and exponentials, which are taken of all of a destination's edges together.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/softmax_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "engine/compute/cpu/attention_kernels.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// values[i] = exp(values[i])
void exponentials(float* values, std::size_t count) {
  const Floats d;
  for_columns(
      count, [&](std::size_t i) HWY_ATTR { hn::StoreU(hn::Exp(d, hn::LoadU(d, values + i)), d, values + i); },
      [&](std::size_t i, std::size_t n)
          HWY_ATTR { store_tail(hn::Exp(d, load_tail(values + i, n)), values + i, n); });
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(exponentials);

namespace {

constexpr std::size_t edges_ahead = 24;  // of the scores: two or three destinations
constexpr std::uint32_t destinations_ahead = 4;
constexpr int into_l2 = 2;
// Destinations whose exponentials are taken in one call: of 11 edges with 4 heads, 11 KiB.
constexpr std::size_t chunk_rows = 64;

// One destination: its loop is entry 0, its neighbors follow. `Heads`: their number, or 0 where it is known
// only at run time.
template <std::size_t Heads>
class Destination {
 public:
  using PerHead = std::array<float, Heads == 0 ? attention_heads_max : Heads>;

  Destination(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule, std::size_t dst)
      : block_(block),
        scores_(scores),
        rule_(rule),
        slope_(std::bit_cast<std::uint32_t>(rule.negative_slope)),
        dst_(dst),
        heads_(scores.columns / 2),
        first_edge_(block.indptr[dst]),
        row_(row_of(block, dst)),
        row_key_(rule.dropout.is_active() ? rule.dropout.row_key(dst) : 0) {
    const float* own = scores.row(row_) + heads();
    for (std::size_t h = 0; h < heads(); ++h) own_scores_[h] = own[h];
    const std::size_t later = std::min<std::size_t>(dst + destinations_ahead, block.dst_count - 1);
    __builtin_prefetch(scores.row(row_of(block, later)), 0, into_l2);
  }

  std::size_t heads() const { return Heads == 0 ? heads_ : Heads; }
  std::size_t entry_count() const { return std::size_t{1} + block_.degree(static_cast<std::uint32_t>(dst_)); }
  std::uint32_t source(std::size_t entry) const {
    return entry == 0 ? row_ : block_.indices[first_edge_ + entry - 1];
  }
  // The block's own edge from the destination to itself: the loop stands for it.
  bool is_skipped(std::size_t entry) const { return entry > 0 && source(entry) == row_; }
  void fetch_ahead(std::size_t entry) const {
    const std::size_t edge = first_edge_ + entry + edges_ahead;
    if (edge < block_.indices.size()) __builtin_prefetch(scores_.row(block_.indices[edge]), 0, into_l2);
  }

  // Before the leaky ReLU.
  PerHead scores(std::size_t entry) const {
    const float* of_source = scores_.row(source(entry));
    PerHead sums;
    for (std::size_t h = 0; h < heads(); ++h) sums[h] = of_source[h] + own_scores_[h];
    return sums;
  }
  // Without a branch: scores are above 0 as often as below.
  float slope(float score) const {
    const std::uint32_t mask = score > 0 ? ~0U : 0U;
    return std::bit_cast<float>((one & mask) | (slope_ & ~mask));
  }
  PerHead weights_per_share(std::size_t entry) const {
    const Dropout& dropout = rule_.dropout;
    PerHead weights;
    for (std::size_t h = 0; h < heads(); ++h) weights[h] = rule_.weight_scale;
    if (!dropout.is_active()) return weights;
    for (std::size_t h = 0; h < heads(); ++h) {
      const auto column = static_cast<std::uint32_t>(entry * heads() + h);
      const bool is_kept = Dropout::keeps(row_key_, column, dropout.threshold());
      weights[h] = is_kept ? rule_.weight_scale * dropout.scale() : 0.0F;
    }
    return weights;
  }
  // Values are worked on in copies, all heads at once: what is in memory could be anything else's as well.
  PerHead read(const float* values) const {
    PerHead result;
    for (std::size_t h = 0; h < heads(); ++h) result[h] = values[h];
    return result;
  }
  void write(const PerHead& values, float* to) const {
    for (std::size_t h = 0; h < heads(); ++h) to[h] = values[h];
  }

  template <class T>
  T* values(const BasicEdgeValues<T>& all, std::size_t entry) const {
    return entry == 0 ? all.loops.row(dst_) : all.edges.row(first_edge_ + entry - 1);
  }

 private:
  static std::uint32_t row_of(const BlockView& block, std::size_t dst) {
    return block.dst_in_src.empty() ? static_cast<std::uint32_t>(dst) : block.dst_in_src[dst];
  }

  const BlockView& block_;
  ConstMatrixView scores_;
  const AttentionRule& rule_;
  static constexpr auto one = std::bit_cast<std::uint32_t>(1.0F);
  std::uint32_t slope_;  // the negative one's bits
  std::size_t dst_;
  std::size_t heads_;
  std::size_t first_edge_;
  std::uint32_t row_;
  std::uint32_t row_key_;
  PerHead own_scores_;
};

void take_exponentials(MatrixView values) {
  if (values.is_dense()) {
    HWY_DYNAMIC_DISPATCH(exponentials)(values.data, values.rows * values.columns);
    return;
  }
  for (std::size_t row = 0; row < values.rows; ++row) {
    HWY_DYNAMIC_DISPATCH(exponentials)(values.row(row), values.columns);
  }
}

// Scores through the leaky ReLU, less the largest that counts.
template <std::size_t Heads>
void shifted_scores(const Destination<Heads>& d, const EdgeValues& shares) {
  using PerHead = typename Destination<Heads>::PerHead;
  PerHead largest;
  largest.fill(-std::numeric_limits<float>::infinity());
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    d.fetch_ahead(entry);
    PerHead scores = d.scores(entry);
    for (std::size_t h = 0; h < d.heads(); ++h) scores[h] *= d.slope(scores[h]);
    d.write(scores, d.values(shares, entry));
    if (d.is_skipped(entry)) continue;
    for (std::size_t h = 0; h < d.heads(); ++h) {
      largest[h] = scores[h] > largest[h] ? scores[h] : largest[h];
    }
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* const share = d.values(shares, entry);
    PerHead scores = d.read(share);
    for (std::size_t h = 0; h < d.heads(); ++h) scores[h] -= largest[h];
    d.write(scores, share);
  }
}

// From exponentials to shares, and to weights.
template <std::size_t Heads>
void divide_by_sums(const Destination<Heads>& d, const EdgeValues& shares, const EdgeValues& weights) {
  using PerHead = typename Destination<Heads>::PerHead;
  PerHead sums{};
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* const share = d.values(shares, entry);
    if (d.is_skipped(entry)) std::fill_n(share, d.heads(), 0.0F);
    const PerHead exponentials = d.read(share);
    for (std::size_t h = 0; h < d.heads(); ++h) sums[h] += exponentials[h];
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* const share = d.values(shares, entry);
    const PerHead per_share = d.weights_per_share(entry);
    PerHead values = d.read(share);
    for (std::size_t h = 0; h < d.heads(); ++h) values[h] /= sums[h];  // 1 or more: the largest is among them
    d.write(values, share);
    for (std::size_t h = 0; h < d.heads(); ++h) values[h] *= per_share[h];
    d.write(values, d.values(weights, entry));
  }
}

template <std::size_t Heads>
void softmax_gradient_of(const Destination<Heads>& d, const ConstEdgeValues& shares,
                         const EdgeValues& gradient, float* d_destination) {
  using PerHead = typename Destination<Heads>::PerHead;
  PerHead means{};  // of the shares' gradients, each by its share
  PerHead sums{};
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    d.fetch_ahead(entry);
    const PerHead share = d.read(d.values(shares, entry));
    float* const value = d.values(gradient, entry);
    const PerHead per_share = d.weights_per_share(entry);
    PerHead values = d.read(value);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      values[h] *= per_share[h];
      means[h] += share[h] * values[h];
    }
    d.write(values, value);
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    const PerHead share = d.read(d.values(shares, entry));
    float* const value = d.values(gradient, entry);
    const PerHead scores = d.scores(entry);
    PerHead values = d.read(value);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      values[h] = share[h] * (values[h] - means[h]) * d.slope(scores[h]);
      sums[h] += values[h];
    }
    d.write(values, value);
  }
  d.write(sums, d_destination);
}

// Calls work with the number of heads as a constant, where it is a usual one.
template <class Work>
void with_heads(std::size_t heads, const Work& work) {
  switch (heads) {
    case 1:
      return work.template operator()<1>();
    case 2:
      return work.template operator()<2>();
    case 4:
      return work.template operator()<4>();
    case 8:
      return work.template operator()<8>();
    default:
      return work.template operator()<0>();
  }
}

}  // namespace

void attention_softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                       RowRange dst, const EdgeValues& shares, const EdgeValues& weights) {
  with_heads(scores.columns / 2, [&]<std::size_t Heads>() {
    for (std::size_t first = dst.first; first < dst.last; first += chunk_rows) {
      const std::size_t last = std::min(dst.last, first + chunk_rows);
      const std::size_t edge = block.indptr[first];
      for (std::size_t d = first; d < last; ++d) {
        shifted_scores(Destination<Heads>(block, scores, rule, d), shares);
      }
      take_exponentials(shares.loops.row_range(first, last - first));
      take_exponentials(shares.edges.row_range(edge, block.indptr[last] - edge));
      for (std::size_t d = first; d < last; ++d) {
        divide_by_sums(Destination<Heads>(block, scores, rule, d), shares, weights);
      }
    }
  });
}

void attention_softmax_gradient(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                                const ConstEdgeValues& shares, RowRange dst, const EdgeValues& gradient,
                                MatrixView d_destination) {
  with_heads(scores.columns / 2, [&]<std::size_t Heads>() {
    for (std::size_t d = dst.first; d < dst.last; ++d) {
      softmax_gradient_of(Destination<Heads>(block, scores, rule, d), shares, gradient, d_destination.row(d));
    }
  });
}

}  // namespace gneiss::cpu
#endif
