// The softmax over a destination's edges and loop, and its way back: one number an edge and head, where the
// rows that the weights are for have hundreds, so plain loops do.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/compute/cpu/attention_kernels.h"

namespace gneiss::cpu {
namespace {

using PerHead = std::array<float, attention_heads_max>;

// One destination: its loop is entry 0, its neighbors follow.
class Destination {
 public:
  Destination(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule, std::size_t dst)
      : block_(block),
        scores_(scores),
        rule_(rule),
        dst_(dst),
        heads_(scores.columns / 2),
        first_edge_(block.indptr[dst]),
        row_(block.dst_in_src.empty() ? static_cast<std::uint32_t>(dst) : block.dst_in_src[dst]),
        row_key_(rule.dropout.is_active() ? rule.dropout.row_key(dst) : 0) {}

  std::size_t heads() const { return heads_; }
  std::size_t entry_count() const { return std::size_t{1} + block_.degree(static_cast<std::uint32_t>(dst_)); }
  std::uint32_t source(std::size_t entry) const {
    return entry == 0 ? row_ : block_.indices[first_edge_ + entry - 1];
  }
  // The block's own edge from the destination to itself: the loop stands for it.
  bool is_skipped(std::size_t entry) const { return entry > 0 && source(entry) == row_; }

  float score(std::size_t entry, std::size_t head) const {  // before the leaky ReLU
    return scores_(source(entry), head) + scores_(row_, heads_ + head);
  }
  float slope(float score) const { return score > 0 ? 1.0F : rule_.negative_slope; }
  float weight_per_share(std::size_t entry, std::size_t head) const {
    const Dropout& dropout = rule_.dropout;
    if (!dropout.is_active()) return rule_.weight_scale;
    const auto column = static_cast<std::uint32_t>(entry * heads_ + head);
    const bool is_kept = Dropout::keeps(row_key_, column, dropout.threshold());
    return is_kept ? rule_.weight_scale * dropout.scale() : 0.0F;
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
};

void softmax_of(const Destination& d, const EdgeValues& shares, const EdgeValues& weights) {
  PerHead largest;
  PerHead sums{};
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    if (d.is_skipped(entry)) continue;
    float* share = d.values(shares, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      const float score = d.score(entry, h);
      share[h] = score * d.slope(score);
      largest[h] = entry == 0 ? share[h] : std::max(largest[h], share[h]);
    }
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* share = d.values(shares, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      share[h] = d.is_skipped(entry) ? 0.0F : std::exp(share[h] - largest[h]);
      sums[h] += share[h];
    }
  }
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    float* share = d.values(shares, entry);
    float* weight = d.values(weights, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      share[h] /= sums[h];  // 1 or more: the largest's exponential is among them
      weight[h] = share[h] * d.weight_per_share(entry, h);
    }
  }
}

void softmax_gradient_of(const Destination& d, const ConstEdgeValues& shares, const EdgeValues& gradient,
                         float* d_destination) {
  PerHead means{};  // of the shares' gradients, each by its share
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    const float* share = d.values(shares, entry);
    float* value = d.values(gradient, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      value[h] *= d.weight_per_share(entry, h);
      means[h] += share[h] * value[h];
    }
  }
  std::fill_n(d_destination, d.heads(), 0.0F);
  for (std::size_t entry = 0; entry < d.entry_count(); ++entry) {
    const float* share = d.values(shares, entry);
    float* value = d.values(gradient, entry);
    for (std::size_t h = 0; h < d.heads(); ++h) {
      value[h] = share[h] * (value[h] - means[h]) * d.slope(d.score(entry, h));
      d_destination[h] += value[h];
    }
  }
}

}  // namespace

void attention_softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                       RowRange dst, const EdgeValues& shares, const EdgeValues& weights) {
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    softmax_of(Destination(block, scores, rule, d), shares, weights);
  }
}

void attention_softmax_gradient(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                                const ConstEdgeValues& shares, RowRange dst, const EdgeValues& gradient,
                                MatrixView d_destination) {
  for (std::size_t d = dst.first; d < dst.last; ++d) {
    softmax_gradient_of(Destination(block, scores, rule, d), shares, gradient, d_destination.row(d));
  }
}

}  // namespace gneiss::cpu
