// What the operators of graph attention ask of their arguments, whatever the backend: shapes, by
// GNEISS_ASSERT.
#pragma once

#include "engine/compute/attention.h"
#include "storage/base/error.h"

namespace gneiss {

inline void check_edges(const BlockView& block, const ConstEdgeValues& values) {
  GNEISS_ASSERT(values.edges.rows == block.edge_count() && values.loops.rows == block.dst_count);
  GNEISS_ASSERT(values.edges.columns == values.loops.columns);
  GNEISS_ASSERT(values.heads() > 0 && values.heads() <= attention_heads_max);
}

inline void check_softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                          const ConstEdgeValues& shares) {
  check_edges(block, shares);
  GNEISS_ASSERT(scores.rows == block.src_count && scores.columns == 2 * shares.heads());
  GNEISS_ASSERT(!rule.dropout.is_active() || rule.dropout.row_nodes.size() >= block.dst_count);
}

// But for the aggregates' gradient, which backends keep in different ways.
inline void check_input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                                 const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                                 ConstMatrixView score_weight, ConstMatrixView activated,
                                 const Epilogue& epilogue, ConstMatrixView dz) {
  check_edges(block, weights);
  check_edges(block, d_scores);
  const std::size_t heads = weights.heads();
  GNEISS_ASSERT(block.is_transposed() && block.dst_in_src.empty());
  GNEISS_ASSERT(block.transposed_edges.size() == block.edge_count());
  GNEISS_ASSERT(d_destination.rows == block.dst_count && d_destination.columns == heads);
  GNEISS_ASSERT(score_weight.rows == 2 * heads && score_weight.columns == dz.columns);
  GNEISS_ASSERT(dz.rows == block.src_count && activated.rows == dz.rows && activated.columns == dz.columns);
  GNEISS_ASSERT(!epilogue.dropout.is_active() || epilogue.dropout.row_nodes.size() >= dz.rows);
}

}  // namespace gneiss
