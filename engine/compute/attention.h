// The operators of graph attention: a softmax over each destination's edges, and sums weighted by it, head
// by head.
//
// Why:    apart from Backend, for a backend may come without them, and other models need none.
// Loops:  every destination has one edge to itself, its loop, whatever the block holds: edges of the block
//         from a destination's own row count for nothing.
// Order:  a destination's sums run over its loop first, then over its neighbors in the sampler's order.
// Source: Velickovic et al., Graph Attention Networks (ICLR 2018); the semantics are those of PyG's
//         GATConv.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "engine/compute/backend.h"

namespace gneiss {

inline constexpr std::size_t attention_heads_max = 64;

// One number for each edge and head, and one for each destination's loop and head.
template <class T>
struct BasicEdgeValues {
  BasicMatrixView<T> edges;  // [edge_count, heads]
  BasicMatrixView<T> loops;  // [dst_count, heads]

  std::size_t heads() const noexcept { return loops.columns; }

  // NOLINTNEXTLINE(google-explicit-constructor): reading needs less than writing
  operator BasicEdgeValues<const T>() const noexcept
    requires(!std::is_const_v<T>)
  {
    return {edges, loops};
  }
};
using EdgeValues = BasicEdgeValues<float>;
using ConstEdgeValues = BasicEdgeValues<const float>;

// From scores to shares, and from shares to weights.
struct AttentionRule {
  float negative_slope = 0.2F;  // of the leaky ReLU over scores
  float weight_scale = 1.0F;    // what every share is multiplied by to be a weight
  // Of the shares. row_nodes are the destinations' nodes; "column" 0 .. heads - 1 is the loop, and so on
  // neighbor by neighbor in the sampler's order: tiers renumber sources, but change no mask.
  Dropout dropout{};
};

class AttentionOperators {
 public:
  virtual ~AttentionOperators() = default;

  // out[n, m] = rows . weight[m, k]^T, the rows read where they lie: for an m too small for a product to pay.
  virtual void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) = 0;

  // The softmax over a destination's edges and its loop, head by head.
  //   scores   [src_count, 2 * heads]: of each row as a source, then of each row as a destination. An edge
  //            s -> d has the score leaky_relu(scores[s, h] + scores[row of d, heads + h])
  //   shares   of a destination and head they sum to 1; 0 for edges from the destination's own row
  //   weights  shares through the rule; may be `shares` itself where the rule changes nothing
  virtual void softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                       const EdgeValues& shares, const EdgeValues& weights) = 0;

  // out[d, h * columns ..] = sum over edges s -> d and the loop of weights[edge, h] * rows[s].
  // out[dst_count, heads * rows.columns].
  virtual void aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                         MatrixView out) = 0;

  // The way back of aggregate to its weights, of softmax and of row_products, where its product was `scores`,
  // in one pass over the rows: for destinations from `first_dst` on, one for each row of d_out.
  //   d_out          of aggregate's output
  //   d_scores       becomes the gradient of each edge's score, before the leaky ReLU
  //   d_destination  [dst_count, heads]: its sums over a destination's edges and loop
  //   d_weight       [2 * heads, rows.columns], of row_products' weight: set where first_dst is 0, else grown
  //     d_weight[h]         : sum over edges s -> d and loops of d_scores[edge, h] * rows[s]
  //     d_weight[heads + h] : sum over d of d_destination[d, h] * rows[row of d]
  //   scratch        Backend::weight_gradient_scratch(d_out.rows, 2 * heads, columns) elements or more
  virtual void score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstMatrixView d_out, const EdgeValues& d_scores,
                               MatrixView d_destination, MatrixView d_weight, std::span<float> scratch) = 0;

  // The way back to the rows, by both of their ways into the output, through the epilogue that made them:
  //   g[s]  = sum over edges s -> d, loops among them, and heads of
  //           weights[edge, h] * d_aggregate[d, h * columns ..] + d_scores[edge, h] * score_weight[h]
  //           + (s < dst_count ? sum over heads of d_destination[s, h] * score_weight[heads + h] : 0)
  //   dz[s] = g[s] through the epilogue whose output was activated[s]
  // Precondition: block.is_transposed() with its edges, destinations are the prefix of sources.
  virtual void input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) = 0;
};

}  // namespace gneiss
