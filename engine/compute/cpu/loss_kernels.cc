// The losses over a batch's logits, and their gradients.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/loss_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "engine/compute/batch_view.h"
#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// The part of the smoothed loss of one row that does not depend on its target: the sum over c of
// -weights[c] * log p[c], from log_sum = log of the sum of exp(row - largest).
double spread_loss(const float* row, std::size_t columns, std::span<const float> weights, double largest,
                   double log_sum) {
  double loss = 0;
  for (std::size_t c = 0; c < columns; ++c) {
    const double weight = weights.empty() ? 1.0 : static_cast<double>(weights[c]);
    loss += weight * (log_sum + largest - static_cast<double>(row[c]));
  }
  return loss;
}

LossSum cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                      const ClassWeighting& classes, float gradient_scale, RowRange range,
                      MatrixView gradient) {
  const Floats d;
  const std::size_t columns = logits.columns;
  const std::span<const float> weights = classes.weights;
  const bool wants_gradient = gradient.rows != 0;
  const float kept = 1.0F - classes.smoothing;
  const float spread = classes.smoothing / static_cast<float>(columns);
  float spread_weight = 0;  // what every row's spread part weighs
  for (std::size_t c = 0; spread > 0 && c < columns; ++c)
    spread_weight += weights.empty() ? 1.0F : weights[c];
  spread_weight *= spread;
  LossSum total;
  for (std::size_t r = range.first; r < range.last; ++r) {
    float* grad = wants_gradient ? gradient.row(r) : nullptr;
    if (targets[r] == no_label) {
      if (wants_gradient) std::fill_n(grad, columns, 0.0F);
      continue;
    }
    const auto target = static_cast<std::size_t>(targets[r]);
    const float* row = logits.row(r);
    const auto best = static_cast<std::size_t>(std::max_element(row, row + columns) - row);
    const FloatVector largest = hn::Set(d, row[best]);
    FloatVector sums = hn::Zero(d);
    for_columns(
        columns,
        [&](std::size_t c) HWY_ATTR {
          const FloatVector e = hn::Exp(d, hn::Sub(hn::LoadU(d, row + c), largest));
          sums = hn::Add(sums, e);
          if (wants_gradient) hn::StoreU(e, d, grad + c);
        },
        [&](std::size_t c, std::size_t n) HWY_ATTR {
          const FloatVector e = hn::Exp(d, hn::Sub(load_tail(row + c, n), largest));
          sums = hn::Add(sums, hn::IfThenElseZero(hn::FirstN(d, n), e));
          if (wants_gradient) store_tail(e, grad + c, n);
        });
    const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
    const double log_sum = std::log(static_cast<double>(sum));
    const float target_weight = kept * (weights.empty() ? 1.0F : weights[target]);
    total.loss += static_cast<double>(target_weight) *
                  (log_sum + static_cast<double>(row[best]) - static_cast<double>(row[target]));
    if (spread > 0) {
      total.loss += static_cast<double>(spread) *
                    spread_loss(row, columns, weights, static_cast<double>(row[best]), log_sum);
    }
    total.correct_count += best == target ? 1 : 0;
    if (wants_gradient) {
      const FloatVector factor = hn::Set(d, gradient_scale * (target_weight + spread_weight) / sum);
      for_columns(
          columns,
          [&](std::size_t c) HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, grad + c), factor), d, grad + c); },
          [&](std::size_t c, std::size_t n)
              HWY_ATTR { store_tail(hn::Mul(load_tail(grad + c, n), factor), grad + c, n); });
      grad[target] -= gradient_scale * target_weight;
      for (std::size_t c = 0; spread > 0 && c < columns; ++c) {
        grad[c] -= gradient_scale * spread * (weights.empty() ? 1.0F : weights[c]);
      }
    }
  }
  return total;
}

LossSum binary_cross_entropy(ConstMatrixView logits, std::span<const std::uint8_t> labels,
                             float gradient_scale, RowRange range, MatrixView gradient) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  using Bytes = hn::Rebind<std::uint8_t, Floats>;
  const Bytes bytes;
  const FloatVector zero = hn::Zero(d);
  const FloatVector one = hn::Set(d, 1.0F);
  const FloatVector scale = hn::Set(d, gradient_scale);
  const std::size_t columns = logits.columns;
  const bool wants_gradient = gradient.rows != 0;
  LossSum total;
  for (std::size_t r = range.first; r < range.last; ++r) {
    const float* row = logits.row(r);
    const std::uint8_t* row_labels = labels.data() + r * columns;
    float* grad = wants_gradient ? gradient.row(r) : nullptr;
    FloatVector losses = zero;
    // Adds the losses of a vector of entries and returns their gradients.
    const auto take = [&](FloatVector x, hn::Vec<Bytes> label_bytes) HWY_ATTR {
      const FloatVector label = hn::ConvertTo(d, hn::PromoteTo(integers, label_bytes));
      const auto is_known = hn::Le(label, one);
      const auto is_positive = hn::Gt(x, zero);
      // exp(-|x|) never overflows: log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), and the sigmoid of x is
      // 1 / (1 + exp(-|x|)) where x > 0, else exp(-|x|) / (1 + exp(-|x|)).
      const FloatVector e = hn::Exp(d, hn::Neg(hn::Abs(x)));
      const FloatVector loss = hn::Add(hn::NegMulAdd(x, label, hn::Max(x, zero)), hn::Log1p(d, e));
      losses = hn::Add(losses, hn::IfThenElseZero(is_known, loss));
      const auto is_wrong = hn::Xor(is_positive, hn::Eq(label, one));
      total.correct_count += hn::CountTrue(d, hn::AndNot(is_wrong, is_known));
      const FloatVector sigmoid = hn::Div(hn::IfThenElse(is_positive, one, e), hn::Add(one, e));
      return hn::IfThenElseZero(is_known, hn::Mul(hn::Sub(sigmoid, label), scale));
    };
    for_columns(
        columns,
        [&](std::size_t c) HWY_ATTR {
          const FloatVector g = take(hn::LoadU(d, row + c), hn::LoadU(bytes, row_labels + c));
          if (wants_gradient) hn::StoreU(g, d, grad + c);
        },
        [&](std::size_t c, std::size_t n) HWY_ATTR {
          HWY_ALIGN std::uint8_t tail[hn::MaxLanes(Floats())];
          std::fill_n(tail, hn::MaxLanes(Floats()), unlabelled);
          std::copy_n(row_labels + c, n, tail);
          const FloatVector g = take(load_tail(row + c, n), hn::LoadU(bytes, tail));
          if (wants_gradient) store_tail(g, grad + c, n);
        });
    total.loss += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, losses)));
  }
  return total;
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(cross_entropy);
HWY_EXPORT(binary_cross_entropy);

LossSum cross_entropy(ConstMatrixView logits, std::span<const std::int32_t> targets,
                      const ClassWeighting& classes, float gradient_scale, RowRange range,
                      MatrixView gradient) {
  return HWY_DYNAMIC_DISPATCH(cross_entropy)(logits, targets, classes, gradient_scale, range, gradient);
}

LossSum binary_cross_entropy(ConstMatrixView logits, std::span<const std::uint8_t> labels,
                             float gradient_scale, RowRange range, MatrixView gradient) {
  return HWY_DYNAMIC_DISPATCH(binary_cross_entropy)(logits, labels, gradient_scale, range, gradient);
}

}  // namespace gneiss::cpu
#endif
