// The steps of graph attention on a stream: see AttentionOperators for what each computes.
//
// Shapes are checked by the caller; all memory is the device's, or pinned memory that it reads over the bus.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/attention.h"

namespace gneiss::cuda {

// In attention_rows.cu.
void row_products(cudaStream_t stream, const TieredRows& rows, ConstMatrixView weight, MatrixView out);
void attention_aggregate(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                         const ConstEdgeValues& weights, MatrixView out);

// In attention_softmax.cu.
void attention_softmax(cudaStream_t stream, const BlockView& block, ConstMatrixView scores,
                       const AttentionRule& rule, const EdgeValues& shares, const EdgeValues& weights);
// gradient: of the weights, becomes that of the scores before the leaky ReLU; of `count` destinations from
// first_dst on. d_destination gets its sums over each destination's entries.
void attention_softmax_gradient(cudaStream_t stream, const BlockView& block, ConstMatrixView scores,
                                const AttentionRule& rule, const ConstEdgeValues& shares,
                                std::size_t first_dst, std::size_t count, const EdgeValues& gradient,
                                MatrixView d_destination);

// In attention_gradient.cu.
// products[entry, h] = the entry's row . d_out[d, h * columns ..], for destinations from first_dst on.
void attention_share_gradients(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                               std::size_t first_dst, ConstMatrixView d_out, const EdgeValues& products);
// d_weight of `count` destinations from first_dst on.
//   scratch  cut_rows_for_weights(count).count * 2 * heads * columns elements or more
void attention_weight_gradient(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                               std::size_t first_dst, std::size_t count, const ConstEdgeValues& d_scores,
                               ConstMatrixView d_destination, std::span<float> d_weight,
                               std::span<float> scratch);
void attention_input_gradient(cudaStream_t stream, const BlockView& block, const ConstEdgeValues& weights,
                              ConstMatrixView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz);

}  // namespace gneiss::cuda
