// The loops of graph attention, each over a range of rows that one thread does alone; see kernels.h.
#pragma once

#include "engine/compute/attention.h"
#include "engine/compute/cpu/kernels.h"

namespace gneiss::cpu {

// What they compute stands at AttentionOperators. `dst`, `src`: the destinations, or sources, to do.
void row_products(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out);
void attention_aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                         RowRange dst, MatrixView out);
// `range`: rows of d_out. d_weight[2 * heads, columns] is set to the sums over these destinations.
void attention_score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstMatrixView d_out, RowRange range,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight);
void attention_input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz);

// In softmax_kernels.cc.
void attention_softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                       RowRange dst, const EdgeValues& shares, const EdgeValues& weights);
void attention_softmax_gradient(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                                const ConstEdgeValues& shares, RowRange dst, const EdgeValues& gradient,
                                MatrixView d_destination);

}  // namespace gneiss::cpu
