// Attention over rows kept as bf16 on the processor.
#pragma once

#include "engine/compute/cpu/bf16_products.h"
#include "engine/compute/half_rows.h"

namespace gneiss::cpu {

class CpuHalves final : public HalfOperators {
 public:
  // Both outlive this.
  CpuHalves(const PieceRunner& pieces, Bf16Products& products) : pieces_(pieces), products_(products) {}

  void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out, HalfView kept) override;
  void aggregate(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                 HalfView out) override;
  void linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override;
  void linear_add(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) override;
  void linear_weight_gradient(ConstHalfView x, ConstMatrixView dz, MatrixView weight_gradient,
                              std::span<float> bias_gradient, std::span<float> scratch) override;
  void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx) override;
  void score_gradients(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const ConstEdgeValues& shares, std::size_t first_dst,
                       ConstHalfView d_out, const EdgeValues& d_scores, MatrixView d_destination,
                       MatrixView d_weight, std::span<float> scratch) override;
  void input_gradient(const BlockView& block, const ConstEdgeValues& weights, ConstHalfView d_aggregate,
                      const ConstEdgeValues& d_scores, ConstMatrixView d_destination,
                      ConstMatrixView score_weight, ConstMatrixView activated, const Epilogue& epilogue,
                      MatrixView dz) override;

 private:
  const PieceRunner& pieces_;
  Bf16Products& products_;
};

}  // namespace gneiss::cpu
