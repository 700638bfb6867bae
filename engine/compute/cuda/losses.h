// The losses over a batch's logits and their gradients, on a stream: see Backend.
#pragma once

#include <cuda_runtime.h>

#include "engine/compute/backend.h"

namespace gneiss::cuda {

// Device memory that the losses need: a part for each run of rows, and what all rows together weigh.
inline constexpr unsigned loss_part_count = 512;
struct LossScratch {
  LossSum* parts = nullptr;  // [loss_part_count]
  LossSum* total = nullptr;  // one
};

// `result` may be pinned memory of the host.
void cross_entropy(cudaStream_t stream, ConstMatrixView logits, std::span<const std::int32_t> targets,
                   const ClassWeighting& classes, MatrixView gradient, const LossScratch& scratch,
                   LossSum* result);
void binary_cross_entropy(cudaStream_t stream, ConstMatrixView logits, const BinaryLabels& labels,
                          MatrixView gradient, const LossScratch& scratch, LossSum* result);

}  // namespace gneiss::cuda
