// The loops of the CPU backend, each over a range of rows that one thread does alone.
//
// Why:     compiled once per instruction set and chosen at run time: one binary runs on any x86-64.
// Threads: ranges of different calls must not overlap in what they write.
// Order:   a row's sums run over its neighbors in their order; a column's over its rows in theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/backend.h"

namespace gneiss::cpu {

struct RowRange {
  std::size_t first = 0;
  std::size_t last = 0;  // one past
};

// In aggregate_kernels.cc; what they compute stands at the operators of Backend.
void aggregate_mean(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out);
void aggregate_sum(const TieredRows& rows, const BlockView& block, const EdgeScales& scales, RowRange dst,
                   MatrixView out);
void gather(const TieredRows& rows, std::span<const std::uint32_t> row_ids, RowRange range, MatrixView out);
void aggregate_mean_gradient(const BlockView& block, ConstMatrixView d_aggregate, ConstMatrixView d_self,
                             ConstMatrixView activated, const Epilogue& epilogue, RowRange src,
                             MatrixView dz);

void aggregate_sum_gradient(const BlockView& block, const EdgeScales& scales, ConstMatrixView d_aggregate,
                            ConstMatrixView activated, const Epilogue& epilogue, RowRange src, MatrixView dz);

// In max_kernels.cc.
void aggregate_max(const TieredRows& rows, const BlockView& block, RowRange dst, MatrixView out,
                   IndexMatrixView winners);
void aggregate_max_gradient(const BlockView& block, ConstIndexMatrixView winners, ConstMatrixView d_aggregate,
                            ConstMatrixView d_self, ConstMatrixView activated, const Epilogue& epilogue,
                            RowRange src, MatrixView dz);

// In scale_kernels.cc. `source` is zeroed before: only the rows of these destinations are written.
void symmetric_scales(const BlockView& block, RowRange dst, std::span<float> destination,
                      std::span<float> source);
void self_loop_scales(const BlockView& block, std::span<const float> source, RowRange dst,
                      std::span<float> self);

// In element_kernels.cc.
void epilogue(const Epilogue& what, RowRange range, MatrixView values);
void epilogue_gradient(ConstMatrixView activated, const Epilogue& what, RowRange range, MatrixView gradient);
void add_rows(ConstMatrixView x, RowRange range, MatrixView out);
void column_sums(ConstMatrixView matrix, RowRange range, std::span<float> out);
// out[i] = sum over p < part_count of parts[p * part_stride + i], in the order of p.
void sum_parts(const float* parts, std::size_t part_count, std::size_t part_stride, std::span<float> out);
double sum_of_squares(std::span<const float> values);
void scale_values(std::span<float> values, float factor);
void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
          std::span<float> first_moments, std::span<float> second_moments);

// In loss_kernels.cc. Sums loss and correct_count of a range; the counts of labels are the caller's.
LossSum cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                      const ClassWeighting& classes, float gradient_scale, RowRange range,
                      MatrixView gradient);
LossSum binary_cross_entropy(ConstMatrixView logits, std::span<const std::uint8_t> labels,
                             float gradient_scale, RowRange range, MatrixView gradient);

const char* instruction_set() noexcept;  // "AVX3", as Highway calls what it chose

}  // namespace gneiss::cpu
