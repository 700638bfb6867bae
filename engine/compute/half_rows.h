// The operators of graph attention over rows that are kept as bf16, of a backend whose products round to it
// anyway: half the bytes to write, to read at random, and to read back.
//
// Why:     a step of attention waits for memory more than it computes, and each row is read some ten times.
// Rounded: each layer's rows, the sums over neighbors, and their gradients; once each, where they are made.
//          Scores come from rows as they are, and scores, shares, weights and all gradients of these are f32.
// Apart:   from Backend and AttentionOperators, for a backend may come without them; a model then has f32.
#pragma once

#include <cstdint>
#include <span>

#include "engine/compute/attention.h"

namespace gneiss {

// bf16 numbers. A row begins at a line of 64 bytes and fills its last one with zeros: no kernel has a tail.
using HalfView = BasicMatrixView<std::uint16_t>;
using ConstHalfView = BasicMatrixView<const std::uint16_t>;

// What a row of `columns` takes.
inline std::size_t half_columns(std::size_t columns) noexcept { return (columns + 31) / 32 * 32; }

// Those of the same names in Backend and AttentionOperators say what is computed. Of several heads, each has
// half_columns(columns) of its own.
class HalfOperators {
 public:
  virtual ~HalfOperators() = default;

  // Leaves the rows in `kept`, rounded, as well.
  virtual void row_products(const TieredRows& rows, ConstMatrixView weight, MatrixView out,
                            HalfView kept) = 0;
  virtual void aggregate(ConstHalfView rows, const BlockView& block, const ConstEdgeValues& weights,
                         HalfView out) = 0;
  virtual void linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out) = 0;
  virtual void linear_add(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue,
                          MatrixView out) = 0;

  virtual void linear_weight_gradient(ConstHalfView x, ConstMatrixView dz, MatrixView weight_gradient,
                                      std::span<float> bias_gradient, std::span<float> scratch) = 0;
  virtual void linear_input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx) = 0;
  //   scratch  Backend::weight_gradient_scratch(d_out.rows, 2 * heads, half_columns(columns)) or more
  virtual void score_gradients(ConstHalfView rows, const BlockView& block, ConstMatrixView scores,
                               const AttentionRule& rule, const ConstEdgeValues& shares,
                               std::size_t first_dst, ConstHalfView d_out, const EdgeValues& d_scores,
                               MatrixView d_destination, MatrixView d_weight, std::span<float> scratch) = 0;
  virtual void input_gradient(const BlockView& block, const ConstEdgeValues& weights,
                              ConstHalfView d_aggregate, const ConstEdgeValues& d_scores,
                              ConstMatrixView d_destination, ConstMatrixView score_weight,
                              ConstMatrixView activated, const Epilogue& epilogue, MatrixView dz) = 0;
};

}  // namespace gneiss
