// Neighbor aggregation, gathers and their ways back, on a stream: see Backend for what each computes.
//
// Shapes are checked by the caller; all memory is the device's, or pinned memory that it reads over the bus.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/backend.h"

namespace gneiss::cuda {

void aggregate_mean(cudaStream_t stream, const TieredRows& rows, const BlockView& block, MatrixView out);
void aggregate_max(cudaStream_t stream, const TieredRows& rows, const BlockView& block, MatrixView out,
                   IndexMatrixView winners);
void aggregate_sum(cudaStream_t stream, const TieredRows& rows, const BlockView& block,
                   const EdgeScales& scales, MatrixView out);
void gather(cudaStream_t stream, const TieredRows& rows, std::span<const std::uint32_t> row_ids,
            MatrixView out);

void aggregate_mean_gradient(cudaStream_t stream, const BlockView& block, ConstMatrixView d_aggregate,
                             ConstMatrixView d_self, ConstMatrixView activated, const Epilogue& epilogue,
                             MatrixView dz);
void aggregate_max_gradient(cudaStream_t stream, const BlockView& block, ConstIndexMatrixView winners,
                            ConstMatrixView d_aggregate, ConstMatrixView d_self, ConstMatrixView activated,
                            const Epilogue& epilogue, MatrixView dz);
void aggregate_sum_gradient(cudaStream_t stream, const BlockView& block, const EdgeScales& scales,
                            ConstMatrixView d_aggregate, ConstMatrixView activated, const Epilogue& epilogue,
                            MatrixView dz);

void symmetric_scales(cudaStream_t stream, const BlockView& block, std::span<float> destination,
                      std::span<float> source);
void self_loop_scales(cudaStream_t stream, const BlockView& block, std::span<const float> source,
                      std::span<float> self);

}  // namespace gneiss::cuda
