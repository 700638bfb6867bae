// The operators of graph attention on the processor.
#pragma once

#include "engine/compute/attention.h"
#include "engine/compute/cpu/pieces.h"

namespace gneiss::cpu {

class CpuAttention final : public AttentionOperators {
 public:
  // `pieces` outlives this.
  explicit CpuAttention(const PieceRunner& pieces) : pieces_(pieces) {}

  void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out) override;
  void softmax(const BlockView& block, ConstMatrixView scores, const AttentionRule& rule,
               const EdgeValues& shares, const EdgeValues& weights) override;
  void aggregate(const TieredRows& rows, const BlockView& block, const ConstEdgeValues& weights,
                 MatrixView out) override;
  void score_gradients(const TieredRows& rows, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                       ConstMatrixView d_out, const EdgeValues& d_scores, MatrixView d_destination,
                       MatrixView d_weight, std::span<float> scratch) override;
  void input_gradient(const BlockView& block, const ConstEdgeValues& weights, ConstMatrixView d_aggregate,
                      const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                      ConstMatrixView score_weight, ConstMatrixView activated, const Epilogue& epilogue,
                      MatrixView dz) override;

 private:
  const PieceRunner& pieces_;
};

}  // namespace gneiss::cpu
