#include "engine/compute/attention_checks.h"
#include "engine/compute/cuda/attention_steps.h"
#include "engine/compute/cuda/column_sums.h"
#include "engine/compute/cuda/cuda_attention.h"

namespace gneiss::cuda {
void CudaAttention::row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) {
  GNEISS_ASSERT(out.rows == rows.row_count() && out.columns == weight.rows);
  GNEISS_ASSERT(weight.columns == rows.columns());
  cuda::row_products(stream_, rows, weight, out);
}

void CudaAttention::softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
                            const EdgeValues& shares, const EdgeValues& weights) {
  check_softmax(block, scores, rule, shares);
  check_edges(block, weights);
  attention_softmax(stream_, block, scores, rule, shares, weights);
}

void CudaAttention::aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                              MatrixView out) {
  check_edges(block, weights);
  GNEISS_ASSERT(rows.row_count() >= block.src_count);
  GNEISS_ASSERT(out.rows == block.dst_count && out.columns == weights.heads() * rows.columns());
  attention_aggregate(stream_, rows, block, weights, out);
}

void CudaAttention::score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                                    const AttentionRule& rule, const ConstEdgeValues& shares,
                                    std::size_t first_dst, ConstMatrixView d_out, const EdgeValues& d_scores,
                                    MatrixView d_destination, MatrixView d_weight, std::span<float> scratch) {
  check_softmax(block, scores, rule, shares);
  check_edges(block, d_scores);
  const std::size_t heads = d_scores.heads();
  const std::size_t columns = rows.columns();
  const std::span<float> sum(d_weight.data, 2 * heads * columns);
  GNEISS_ASSERT(rows.row_count() >= block.src_count && d_weight.is_dense());
  GNEISS_ASSERT(first_dst + d_out.rows <= block.dst_count && d_out.columns == heads * columns);
  GNEISS_ASSERT(d_destination.rows == block.dst_count && d_destination.columns == heads);
  GNEISS_ASSERT(d_weight.rows == 2 * heads && d_weight.columns == columns);
  GNEISS_ASSERT(scratch.size() >= cut_rows_for_weights(d_out.rows).count * sum.size());
  attention_share_gradients(stream_, rows, block, first_dst, d_out, d_scores);
  attention_softmax_gradient(stream_, block, scores, rule, shares, first_dst, d_out.rows, d_scores,
                             d_destination);
  attention_weight_gradient(stream_, rows, block, first_dst, d_out.rows, d_scores, d_destination, sum,
                            scratch);
}

void CudaAttention::input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                                   ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                                   ConstMatrixView d_destination, ConstMatrixView score_weight,
                                   ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) {
  check_input_gradient(block, weights, d_scores, d_destination, score_weight, activated, epilogue, dz);
  GNEISS_ASSERT(d_aggregate.rows == block.dst_count && d_aggregate.columns == weights.heads() * dz.columns);
  attention_input_gradient(stream_, block, weights, d_aggregate, d_scores, d_destination, score_weight,
                           activated, epilogue, dz);
}

}  // namespace gneiss::cuda
