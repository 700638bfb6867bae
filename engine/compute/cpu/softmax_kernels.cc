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
        dst_(dst),
        heads_(scores.columns / 2),
        first_edge_(block.indptr[dst]),
        row_(block.dst_in_src.empty() ? static_cast<std::uint32_t>(dst) : block.dst_in_src[dst]),
        row_key_(rule.dropout.is_active() ? rule.dropout.row_key(dst) : 0) {
    const float* own = scores.row(row_) + heads();
    for (std::size_t h = 0; h < heads(); ++h) own_scores_[h] = own[h];
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
    if (edge < block_.indices.size()) __builtin_prefetch(scores_.row(block_.indices[edge]));
  }

  // Before the leaky ReLU.
  PerHead scores(std::size_t entry) const {
    const float* of_source = scores_.row(source(entry));
    PerHead sums;
    for (std::size_t h = 0; h < heads(); ++h) sums[h] = of_source[h] + own_scores_[h];
    return sums;
  }
  float slope(float score) const { return score > 0 ? 1.0F : rule_.negative_slope; }
  PerHead weights_per_share(std::size_t entry) const {
    const Dropout& dropout = rule_.dropout;
    PerHead weights;
    for (std::size_t h = 0; h < heads(); ++h) {
      weights[h] = rule_.weight_scale;
      if (!dropout.is_active()) continue;
      const auto column = static_cast<std::uint32_t>(entry * heads() + h);
      const bool is_kept = Dropout::keeps(row_key_, column, dropout.threshold());
      weights[h] = is_kept ? rule_.weight_scale * dropout.scale() : 0.0F;
    }
    return weights;
  }

  template <class T>
  T* values(const BasicEdgeValues<T>& all, std::size_t entry) const {
    return entry == 0 ? all.loops.row(dst_) : all.edges.row(first_edge_ + entry - 1);
  }

 private:
  const BlockView& block_;
  ConstMatrixView scores_;
  const AttentionRule& rule_;
  std::size_t dst_;
  std::size_t heads_;
  std::size_t first_edge_;
  std::uint32_t row_;
  std::uint32_t row_key_;
  PerHead own_scores_;
};

// Of all entries: where edges lie one behind the other, in one call.
template <std::size_t Heads>
void take_exponentials(const Destination<Heads>& d, const EdgeValues& shares) {
  HWY_DYNAMIC_DISPATCH(exponentials)(d.values(shares, 0), d.heads());
  const std::size_t edges = d.entry_count() - 1;
  if (edges == 0) return;
  if (shares.edges.is_dense()) {
    HWY_DYNAMIC_DISPATCH(exponentials)(d.values(shares, 1), edges * d.heads());
    return;
  }
  for (std::size_t entry = 1; entry <= edges; ++entry) {
    HWY_DYNAMIC_DISPATCH(exponentials)(d.values(shares, entry), d.heads());
  }
}

template <std::size_t Heads>
void softmax_of(const Destination<Heads>& d, const EdgeValues& shares, const EdgeValues& weights) {
  typename Destination<Heads>::PerHead largest{};
  typename Destination<Heads>::PerHead sums{};
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    d.fetch_ahead(entry);
    float* share = d.values(shares, entry);
    const auto scores = d.scores(entry);
    const bool counts = !d.is_skipped(entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      share[h] = scores[h] * d.slope(scores[h]);
      largest[h] = entry == 0 || (counts && share[h] > largest[h]) ? share[h] : largest[h];
    }
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* share = d.values(shares, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) share[h] -= largest[h];
  }
  take_exponentials(d, shares);
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* share = d.values(shares, entry);
    if (d.is_skipped(entry)) std::fill_n(share, d.heads(), 0.0F);
    for (std::size_t h = 0; h < d.heads(); ++h) sums[h] += share[h];
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* share = d.values(shares, entry);
    float* weight = d.values(weights, entry);
    const auto per_share = d.weights_per_share(entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      share[h] /= sums[h];  // 1 or more: the largest's exponential is among them
      weight[h] = share[h] * per_share[h];
    }
  }
}

template <std::size_t Heads>
void softmax_gradient_of(const Destination<Heads>& d, const ConstEdgeValues& shares,
                         const EdgeValues& gradient, float* d_destination) {
  typename Destination<Heads>::PerHead means{};  // of the shares' gradients, each by its share
  typename Destination<Heads>::PerHead sums{};
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    d.fetch_ahead(entry);
    const float* share = d.values(shares, entry);
    float* value = d.values(gradient, entry);
    const auto per_share = d.weights_per_share(entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      value[h] *= per_share[h];
      means[h] += share[h] * value[h];
    }
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    const float* share = d.values(shares, entry);
    float* value = d.values(gradient, entry);
    const auto scores = d.scores(entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      value[h] = share[h] * (value[h] - means[h]) * d.slope(scores[h]);
      sums[h] += value[h];
    }
  }
  for (std::size_t h = 0; h < d.heads(); ++h) d_destination[h] = sums[h];
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
    for (std::size_t d = dst.first; d < dst.last; ++d) {
      softmax_of(Destination<Heads>(block, scores, rule, d), shares, weights);
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
