// Every operator once more, as plain loops in f64: what the kernels of all backends are compared with.
//
// Why:  short enough to be checked by eye against the formulas, and exact enough for finite differences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/compute/backend.h"

namespace gneiss::reference {

struct Matrix {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(std::size_t rows_, std::size_t columns_)
      : rows(rows_), columns(columns_), values(rows_ * columns_) {}
  double& operator()(std::size_t row, std::size_t column) { return values[row * columns + column]; }
  double operator()(std::size_t row, std::size_t column) const { return values[row * columns + column]; }
};

Matrix widen(ConstMatrixView matrix);
Matrix widen(const TieredRows& rows);

Matrix aggregate_mean(const Matrix& rows, const BlockView& block);
// The gradient of the sources from that of the means: by the edges themselves, not the transposed ones.
Matrix aggregate_mean_gradient(const BlockView& block, const Matrix& d_aggregate);
// out[d] = sum over edges e of d: edge_weights[e] * rows[source of e]  +  self_weights[d] * row of d.
Matrix aggregate_weighted(const Matrix& rows, const BlockView& block, std::span<const double> edge_weights,
                          std::span<const double> self_weights);
Matrix aggregate_weighted_gradient(const BlockView& block, std::span<const double> edge_weights,
                                   std::span<const double> self_weights, const Matrix& d_aggregate);
Matrix gather(const Matrix& rows, std::span<const std::uint32_t> row_ids, std::size_t count);

Matrix linear(const Matrix& x, const Matrix& weight);           // x . weight^T
Matrix weight_gradient(const Matrix& x, const Matrix& dz);      // dz^T . x
Matrix input_gradient(const Matrix& dz, const Matrix& weight);  // dz . weight
std::vector<double> column_sums(const Matrix& matrix);

void add_bias(Matrix& values, std::span<const double> bias);
void activate(Matrix& values, Activation activation, const Dropout& dropout);
// dy becomes dz; `before` is what activate() was given.
void activate_gradient(const Matrix& before, Activation activation, const Dropout& dropout, Matrix& gradient);

struct Loss {
  double mean = 0;
  std::uint64_t labelled_count = 0;
  std::uint64_t correct_count = 0;
  Matrix gradient;
};
Loss cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                   const ClassWeighting& classes = {});
Loss binary_cross_entropy(const Matrix& logits, std::span<const std::uint8_t> labels);
// Scales the values where their norm is above norm_max; returns the norm before.
double clip_norm(std::span<double> values, double norm_max);

struct AdamState {
  std::vector<double> values;
  std::vector<double> first_moments;
  std::vector<double> second_moments;
};
void adam(const AdamStep& step, std::span<const double> gradients, AdamState& state);

}  // namespace gneiss::reference
