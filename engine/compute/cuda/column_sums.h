// Sums over the rows of a matrix, column by column, in an order that depends on the shape alone.
//
// Order: rows are cut into pieces by their number; each piece is summed in order, then the pieces are.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <span>

#include "engine/compute/matrix_view.h"
#include "storage/base/rounding.h"

namespace gneiss::cuda {

// How rows are cut where something is summed over them.
struct RowPieces {
  std::size_t count = 0;
  std::size_t rows = 0;  // of all but the last
};
inline RowPieces cut_rows(std::size_t rows, std::size_t rows_min, std::size_t count_max) {
  if (rows == 0) return {};
  const std::size_t piece = std::max(rows_min, divide_up(rows, count_max));
  return {divide_up(rows, piece), piece};
}
// How many pieces there can be of so many rows or fewer: of fewer there may be more, for a piece is whole
// rows.
inline std::size_t pieces_at_most(std::size_t rows, std::size_t rows_min, std::size_t count_max) {
  return std::min<std::size_t>(count_max, divide_up(rows, rows_min));
}
// A piece is a thread's work: enough of them for every multiprocessor, and few enough to be summed at once.
inline constexpr std::size_t sum_rows_min = 64;
inline constexpr std::size_t sum_pieces_max = 512;
inline RowPieces cut_rows(std::size_t rows) { return cut_rows(rows, sum_rows_min, sum_pieces_max); }
// Where each piece's sum is a whole weight, whose memory it takes: fewer, and many threads to each.
inline constexpr std::size_t weight_rows_min = 256;
inline constexpr std::size_t weight_pieces_max = 64;
inline RowPieces cut_rows_for_weights(std::size_t rows) {
  return cut_rows(rows, weight_rows_min, weight_pieces_max);
}

// out[columns]; scratch: cut_rows(matrix.rows).count * columns elements.
void column_sums(cudaStream_t stream, ConstMatrixView matrix, std::span<float> out, std::span<float> scratch);

// out[i] = sum over parts p of parts[p * out.size() + i], in order.
void sum_parts(cudaStream_t stream, const float* parts, std::size_t part_count, std::span<float> out);
// The same, added to what `out` holds.
void add_parts(cudaStream_t stream, const float* parts, std::size_t part_count, std::span<float> out);

}  // namespace gneiss::cuda
