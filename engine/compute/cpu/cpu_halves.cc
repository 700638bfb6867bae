#include "engine/compute/cpu/cpu_halves.h"

#include <algorithm>

#include "engine/compute/attention_checks.h"
#include "engine/compute/cpu/half_kernels.h"
#include "engine/compute/cpu/weight_gradient.h"

namespace gneiss::cpu {
namespace {

constexpr std::size_t line_bytes = 64;

// Stores past the caches want whole lines.
void check_lines(ConstHalfView rows) {
  GNEISS_ASSERT(reinterpret_cast<std::uintptr_t>(rows.data) % line_bytes == 0);
  GNEISS_ASSERT(rows.stride % half_columns(1) == 0 && rows.stride >= half_columns(rows.columns));
}

}  // namespace

void CpuHalves::row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out, HalfView kept) {
  check_lines(kept);
  GNEISS_ASSERT(out.rows == rows.row_count() && out.columns == weight.rows);
  GNEISS_ASSERT(weight.columns == rows.columns() && kept.columns == rows.columns() && kept.rows == out.rows);
  pieces_.for_rows(out.rows, [&](RowRange range) { row_products_keeping(rows, weight, range, out, kept); });
}

void CpuHalves::aggregate(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                          HalfView out) {
  check_lines(rows);
  check_lines(out);
  check_edges(block, weights);
  GNEISS_ASSERT(rows.rows >= block.src_count);
  GNEISS_ASSERT(out.rows == block.dst_count && out.columns == weights.heads() * half_columns(rows.columns));
  pieces_.for_rows(out.rows, [&](RowRange dst) { aggregate_halves(rows, block, weights, dst, out); });
}

void CpuHalves::linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) {
  check_lines(x);
  GNEISS_ASSERT(out.rows == x.rows && out.columns == weight.rows && x.columns == weight.columns);
  products_.linear(x, weight, epilogue, out, Into::set);
}

void CpuHalves::linear_add(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue,
                           MatrixView out) {
  check_lines(x);
  GNEISS_ASSERT(out.rows == x.rows && out.columns == weight.rows && x.columns == weight.columns);
  products_.linear(x, weight, epilogue, out, Into::add);
}

void CpuHalves::linear_weight_gradient(ConstHalfView x, ConstMatrixView dz, MatrixView weight_gradient,
                                       std::span<float> bias_gradient, std::span<float> scratch) {
  check_lines(x);
  cpu::weight_gradient(pieces_, x, dz, weight_gradient, bias_gradient, scratch,
                       [&](ConstMatrixView left, ConstHalfView right, MatrixView part, std::size_t worker) {
                         products_.outer_products(right, left, part, worker);
                       });
}

void CpuHalves::linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx) {
  check_lines(dx);
  GNEISS_ASSERT(dx.rows == dz.rows && dx.columns == weight.columns && dz.columns == weight.rows);
  products_.input_gradient(dz, weight, dx);
}

void CpuHalves::score_gradients(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                                const AttentionRule& rule, const ConstEdgeValues& shares,
                                std::size_t first_dst, ConstHalfView d_out, const EdgeValues& d_scores,
                                MatrixView d_destination, MatrixView d_weight, std::span<float> scratch) {
  check_lines(rows);
  check_lines(d_out);
  check_softmax(block, scores, rule, shares);
  check_edges(block, d_scores);
  const std::size_t heads = d_scores.heads();
  const std::size_t columns = half_columns(rows.columns);
  GNEISS_ASSERT(rows.rows >= block.src_count);
  GNEISS_ASSERT(first_dst + d_out.rows <= block.dst_count && d_out.columns == heads * columns);
  GNEISS_ASSERT(d_destination.rows == block.dst_count && d_destination.columns == heads);
  GNEISS_ASSERT(d_weight.rows == 2 * heads && d_weight.columns == rows.columns);
  if (first_dst == 0) {
    for (std::size_t row = 0; row < d_weight.rows; ++row) std::fill_n(d_weight.row(row), rows.columns, 0.0F);
  }
  const Pieces pieces = cut(d_out.rows, piece_rows, partial_count_max);
  GNEISS_ASSERT(scratch.size() >= pieces.count * 2 * heads * columns);
  const auto part = [&](std::size_t piece) {
    return MatrixView(scratch.data() + piece * 2 * heads * columns, 2 * heads, columns);
  };
  pieces_.run(pieces.count, [&](std::size_t piece) {
    const RowRange range = rows_of(pieces, piece, d_out.rows);
    score_gradients_of_halves(rows, block, scores, rule, shares, first_dst, d_out,
                              {first_dst + range.first, first_dst + range.last}, d_scores, d_destination,
                              part(piece));
  });
  for (std::size_t piece = 0; piece < pieces.count; ++piece) {
    add_rows(part(piece).column_range(0, rows.columns), {0, 2 * heads}, d_weight);
  }
}

void CpuHalves::input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                               ConstHalfView d_aggregate, const ConstEdgeValues& d_scores,
                               ConstMatrixView d_destination, ConstMatrixView score_weight,
                               ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) {
  check_input_gradient(block, weights, d_scores, d_destination, score_weight, activated, epilogue, dz);
  GNEISS_ASSERT(d_aggregate.rows == block.dst_count &&
                d_aggregate.columns == weights.heads() * half_columns(dz.columns));
  pieces_.for_rows(dz.rows, [&](RowRange src) {
    input_gradient_of_halves(block, weights, d_aggregate, d_scores, d_destination, score_weight, activated,
                             epilogue, src, dz);
  });
}

}  // namespace gneiss::cpu
