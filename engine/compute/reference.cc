#include "engine/compute/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/compute/batch_view.h"

namespace gneiss::reference {

Matrix widen(ConstMatrixView matrix) {
  Matrix out(matrix.rows, matrix.columns);
  for (std::size_t r = 0; r < out.rows; ++r) {
    for (std::size_t c = 0; c < out.columns; ++c) out(r, c) = static_cast<double>(matrix(r, c));
  }
  return out;
}

Matrix widen(const TieredRows& rows) {
  Matrix out(rows.row_count(), rows.columns());
  for (std::uint32_t r = 0; r < rows.row_count(); ++r) {
    for (std::uint32_t c = 0; c < rows.columns(); ++c) {
      const std::byte* element = rows.row(r) + c * size_of(rows.dtype());
      std::uint16_t half = 0;
      float single = 0;
      switch (rows.dtype()) {
        case Dtype::f16:
          std::memcpy(&half, element, sizeof(half));
          single = from_f16(half);
          break;
        case Dtype::bf16:
          std::memcpy(&half, element, sizeof(half));
          single = from_bf16(half);
          break;
        default:
          std::memcpy(&single, element, sizeof(single));
      }
      out(r, c) = static_cast<double>(single);
    }
  }
  return out;
}

Matrix aggregate_mean(const Matrix& rows, const BlockView& block) {
  Matrix out(block.dst_count, rows.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
      for (std::size_t c = 0; c < rows.columns; ++c) {
        out(dst, c) += rows(block.indices[edge], c) / block.degree(dst);
      }
    }
  }
  return out;
}

Matrix aggregate_mean_gradient(const BlockView& block, const Matrix& d_aggregate) {
  Matrix out(block.src_count, d_aggregate.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
      for (std::size_t c = 0; c < out.columns; ++c) {
        out(block.indices[edge], c) += d_aggregate(dst, c) / block.degree(dst);
      }
    }
  }
  return out;
}

Matrix aggregate_weighted(const Matrix& rows, const BlockView& block, std::span<const double> edge_weights,
                          std::span<const double> self_weights) {
  Matrix out(block.dst_count, rows.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    const std::uint32_t self = block.dst_in_src.empty() ? dst : block.dst_in_src[dst];
    for (std::size_t c = 0; c < rows.columns; ++c) {
      out(dst, c) += self_weights[dst] * rows(self, c);
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        out(dst, c) += edge_weights[edge] * rows(block.indices[edge], c);
      }
    }
  }
  return out;
}

Matrix aggregate_weighted_gradient(const BlockView& block, std::span<const double> edge_weights,
                                   std::span<const double> self_weights, const Matrix& d_aggregate) {
  Matrix out(block.src_count, d_aggregate.columns);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    const std::uint32_t self = block.dst_in_src.empty() ? dst : block.dst_in_src[dst];
    for (std::size_t c = 0; c < out.columns; ++c) {
      out(self, c) += self_weights[dst] * d_aggregate(dst, c);
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        out(block.indices[edge], c) += edge_weights[edge] * d_aggregate(dst, c);
      }
    }
  }
  return out;
}

Matrix gather(const Matrix& rows, std::span<const std::uint32_t> row_ids, std::size_t count) {
  Matrix out(count, rows.columns);
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t c = 0; c < rows.columns; ++c) out(r, c) = rows(row_ids.empty() ? r : row_ids[r], c);
  }
  return out;
}

Matrix linear(const Matrix& x, const Matrix& weight) {
  Matrix out(x.rows, weight.rows);
  for (std::size_t r = 0; r < x.rows; ++r) {
    for (std::size_t m = 0; m < weight.rows; ++m) {
      for (std::size_t k = 0; k < x.columns; ++k) out(r, m) += x(r, k) * weight(m, k);
    }
  }
  return out;
}

Matrix weight_gradient(const Matrix& x, const Matrix& dz) {
  Matrix out(dz.columns, x.columns);
  for (std::size_t r = 0; r < x.rows; ++r) {
    for (std::size_t m = 0; m < dz.columns; ++m) {
      for (std::size_t k = 0; k < x.columns; ++k) out(m, k) += dz(r, m) * x(r, k);
    }
  }
  return out;
}

Matrix input_gradient(const Matrix& dz, const Matrix& weight) {
  Matrix out(dz.rows, weight.columns);
  for (std::size_t r = 0; r < dz.rows; ++r) {
    for (std::size_t m = 0; m < dz.columns; ++m) {
      for (std::size_t k = 0; k < weight.columns; ++k) out(r, k) += dz(r, m) * weight(m, k);
    }
  }
  return out;
}

std::vector<double> column_sums(const Matrix& matrix) {
  std::vector<double> sums(matrix.columns);
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    for (std::size_t c = 0; c < matrix.columns; ++c) sums[c] += matrix(r, c);
  }
  return sums;
}

void add_bias(Matrix& values, std::span<const double> bias) {
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::size_t c = 0; c < values.columns; ++c) values(r, c) += bias[c];
  }
}

namespace {

double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::leaky_relu:
      return x < 0 ? static_cast<double>(leaky_relu_slope) * x : x;
    case Activation::elu:
      return x < 0 ? std::exp(x) - 1 : x;
    case Activation::tanh:
      return std::tanh(x);
    default:
      return x;
  }
}

double slope(double x, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::leaky_relu:
      return x > 0 ? 1 : static_cast<double>(leaky_relu_slope);
    case Activation::elu:
      return x < 0 ? std::exp(x) : 1;
    case Activation::tanh:
      return 1 / (std::cosh(x) * std::cosh(x));
    default:
      return 1;
  }
}

// What dropout multiplies one element by.
double mask(std::size_t row, std::size_t column, const Dropout& dropout) {
  if (!dropout.is_active()) return 1;
  const bool kept =
      Dropout::keeps(dropout.row_key(row), static_cast<std::uint32_t>(column), dropout.threshold());
  return kept ? 1.0 / (1.0 - static_cast<double>(dropout.probability)) : 0.0;
}

}  // namespace

void activate(Matrix& values, Activation activation, const Dropout& dropout) {
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::size_t c = 0; c < values.columns; ++c) {
      values(r, c) = activated(values(r, c), activation) * mask(r, c, dropout);
    }
  }
}

void activate_gradient(const Matrix& before, Activation activation, const Dropout& dropout,
                       Matrix& gradient) {
  for (std::size_t r = 0; r < before.rows; ++r) {
    for (std::size_t c = 0; c < before.columns; ++c) {
      gradient(r, c) *= slope(before(r, c), activation) * mask(r, c, dropout);
    }
  }
}

Loss cross_entropy(const Matrix& logits, std::span<const std::int32_t> targets,
                   const ClassWeighting& classes) {
  Loss loss;
  loss.gradient = Matrix(logits.rows, logits.columns);
  const auto weight_of = [&](std::size_t c) {
    return classes.weights.empty() ? 1.0 : static_cast<double>(classes.weights[c]);
  };
  double weight = 0;
  for (const std::int32_t target : targets) {
    if (target == no_label) continue;
    ++loss.labelled_count;
    weight += weight_of(static_cast<std::size_t>(target));
  }
  const auto smoothing = static_cast<double>(classes.smoothing);
  for (std::size_t r = 0; r < logits.rows; ++r) {
    if (targets[r] == no_label) continue;
    const auto target = static_cast<std::size_t>(targets[r]);
    std::size_t best = 0;
    for (std::size_t c = 1; c < logits.columns; ++c) best = logits(r, c) > logits(r, best) ? c : best;
    double sum = 0;
    for (std::size_t c = 0; c < logits.columns; ++c) sum += std::exp(logits(r, c) - logits(r, best));
    loss.correct_count += best == target ? 1 : 0;
    if (weight == 0) continue;
    // What class c's log-probability counts in the mean, and what all of them do.
    double total = 0;
    const auto share_of = [&](std::size_t c) {
      const double kept = c == target ? 1 - smoothing : 0;
      return (kept + smoothing / static_cast<double>(logits.columns)) * weight_of(c) / weight;
    };
    for (std::size_t c = 0; c < logits.columns; ++c) {
      total += share_of(c);
      loss.mean += share_of(c) * (std::log(sum) + logits(r, best) - logits(r, c));
    }
    for (std::size_t c = 0; c < logits.columns; ++c) {
      const double probability = std::exp(logits(r, c) - logits(r, best)) / sum;
      loss.gradient(r, c) = total * probability - share_of(c);
    }
  }
  return loss;
}

Loss binary_cross_entropy(const Matrix& logits, std::span<const std::uint8_t> labels) {
  Loss loss;
  loss.gradient = Matrix(logits.rows, logits.columns);
  for (const std::uint8_t label : labels) loss.labelled_count += label <= 1 ? 1 : 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 1) continue;
    const double x = logits.values[i];
    const double y = labels[i];
    const auto count = static_cast<double>(loss.labelled_count);
    loss.mean += (std::max(x, 0.0) - x * y + std::log1p(std::exp(-std::abs(x)))) / count;
    loss.correct_count += (x > 0) == (y == 1) ? 1 : 0;
    loss.gradient.values[i] = (1 / (1 + std::exp(-x)) - y) / count;
  }
  return loss;
}

double clip_norm(std::span<double> values, double norm_max) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  const double norm = std::sqrt(squares);
  for (double& value : values) value *= std::min(1.0, norm_max / (norm + 1e-6));
  return norm;
}

void adam(const AdamStep& step, std::span<const double> gradients, AdamState& state) {
  const auto beta1 = static_cast<double>(step.beta1);
  const auto beta2 = static_cast<double>(step.beta2);
  const auto rate = static_cast<double>(step.learning_rate);
  const auto decay = static_cast<double>(step.weight_decay);
  const double correction1 = 1.0 - std::pow(beta1, static_cast<double>(step.step));
  const double correction2 = 1.0 - std::pow(beta2, static_cast<double>(step.step));
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    double& value = state.values[i];
    double& m = state.first_moments[i];
    double& v = state.second_moments[i];
    const double gradient = gradients[i] + (step.is_decoupled ? 0 : decay * value);
    if (step.is_decoupled) value *= 1 - rate * decay;
    m = beta1 * m + (1 - beta1) * gradient;
    v = beta2 * v + (1 - beta2) * gradient * gradient;
    value -= rate * (m / correction1) / (std::sqrt(v / correction2) + static_cast<double>(step.epsilon));
  }
}

}  // namespace gneiss::reference
