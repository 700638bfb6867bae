#include "engine/compute/cpu/cpu_attention.h"

#include <algorithm>

#include "engine/compute/attention_checks.h"
#include "engine/compute/cpu/attention_kernels.h"

namespace gneiss::cpu {
void CpuAttention::row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) {
  GNEISS_ASSERT(out.rows == rows.row_count() && out.columns == weight.rows);
  GNEISS_ASSERT(weight.columns == rows.columns());
  pieces_.for_rows(out.rows, [&](RowRange range) { cpu::row_products(rows, weight, range, out); });
}

void CpuAttention::softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                           const EdgeValues& shares, const EdgeValues& weights) {
  check_softmax(block, scores, rule, shares);
  check_edges(block, weights);
  pieces_.for_rows(block.dst_count,
                   [&](RowRange dst) { attention_softmax(block, scores, rule, dst, shares, weights); });
}

void CpuAttention::aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                             MatrixView out) {
  check_edges(block, weights);
  GNEISS_ASSERT(rows.row_count() >= block.src_count);
  GNEISS_ASSERT(out.rows == block.dst_count && out.columns == weights.heads() * rows.columns());
  pieces_.for_rows(out.rows, [&](RowRange dst) { attention_aggregate(rows, block, weights, dst, out); });
}

void CpuAttention::score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                                   const AttentionRule& rule, const ConstEdgeValues& shares,
                                   std::size_t first_dst, ConstMatrixView d_out, const EdgeValues& d_scores,
                                   MatrixView d_destination, MatrixView d_weight, std::span<float> scratch) {
  check_softmax(block, scores, rule, shares);
  check_edges(block, d_scores);
  const std::size_t heads = d_scores.heads();
  const std::size_t columns = rows.columns();
  GNEISS_ASSERT(rows.row_count() >= block.src_count && d_weight.is_dense());
  GNEISS_ASSERT(first_dst + d_out.rows <= block.dst_count && d_out.columns == heads * columns);
  GNEISS_ASSERT(d_destination.rows == block.dst_count && d_destination.columns == heads);
  GNEISS_ASSERT(d_weight.rows == 2 * heads && d_weight.columns == columns);
  const std::span<float> sum(d_weight.data, 2 * heads * columns);
  if (first_dst == 0) std::ranges::fill(sum, 0.0F);
  const Pieces pieces = cut(d_out.rows, piece_rows, partial_count_max);
  GNEISS_ASSERT(scratch.size() >= pieces.count * sum.size());
  const auto part = [&](std::size_t piece) {
    return MatrixView(scratch.data() + piece * sum.size(), 2 * heads, columns);
  };
  pieces_.run(pieces.count, [&](std::size_t piece) {
    attention_score_gradients(rows, block, scores, rule, shares, first_dst, d_out,
                              rows_of(pieces, piece, d_out.rows), d_scores, d_destination, part(piece));
  });
  for (std::size_t piece = 0; piece < pieces.count; ++piece) add_rows(part(piece), {0, 2 * heads}, d_weight);
}

void CpuAttention::input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                                  ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                                  ConstMatrixView d_destination, ConstMatrixView score_weight,
                                  ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) {
  check_input_gradient(block, weights, d_scores, d_destination, score_weight, activated, epilogue, dz);
  GNEISS_ASSERT(d_aggregate.rows == block.dst_count && d_aggregate.columns == weights.heads() * dz.columns);
  pieces_.for_rows(dz.rows, [&](RowRange src) {
    attention_input_gradient(block, weights, d_aggregate, d_scores, d_destination, score_weight, activated,
                             epilogue, src, dz);
  });
}

}  // namespace gneiss::cpu
