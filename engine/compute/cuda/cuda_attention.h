// The operators of graph attention on a CUDA device.
//
// Order:  work is put on the stream and not waited for.
// Memory: all views lie on the device, or in pinned memory that it reads over the bus; rows, and each range's
//         base, are aligned to their elements.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/attention.h"

namespace gneiss::cuda {

class CudaAttention final : public AttentionOperators {
 public:
  // `stream` outlives this.
  explicit CudaAttention(cudaStream_t stream) : stream_(stream) {}

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
  cudaStream_t stream_;
};

}  // namespace gneiss::cuda
