// The loops of graph attention over rows kept as bf16, each over a range of rows that one thread does alone;
// see kernels.h. What they compute stands at HalfOperators. Without has_bf16_products() none may be called.
#pragma once

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/half_rows.h"

namespace gneiss::cpu {

// In half_kernels.cc.
void row_products_keeping(const TieredRows& rows, ConstMatrixView weight, RowRange range, MatrixView out,
                          HalfView kept);
void aggregate_halves(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                      RowRange dst, HalfView out);
// `dst`: of which d_out has those from `first_dst` on. d_weight[2 * heads, half_columns(columns)] is set to
// the sums over these destinations.
void score_gradients_of_halves(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstHalfView d_out, RowRange dst,
                               const EdgeValues& d_scores, MatrixView d_destination, MatrixView d_weight);
// values[n, half_columns(columns)], zeros behind its columns, as bf16.
void round_rows(ConstMatrixView values, HalfView out);

// In attention_kernels.cc.
void input_gradient_of_halves(const BlockView& block, const ConstEdgeValues& weights,
                              ConstHalfView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                              MatrixView dz);

}  // namespace gneiss::cpu
