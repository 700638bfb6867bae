// Element-wise work between the products: epilogues, sums and the optimizer's step.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/element_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "engine/compute/cpu/kernels.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

template <Activation kind>
HWY_INLINE FloatVector activate(FloatVector x) {
  const Floats d;
  if constexpr (kind == Activation::tanh) return hn::Tanh(d, x);
  // Written so that what is no number stays so: it is not below 0.
  const auto is_below = hn::Lt(x, hn::Zero(d));
  if constexpr (kind == Activation::relu) return hn::IfThenZeroElse(is_below, x);
  if constexpr (kind == Activation::leaky_relu) {
    return hn::IfThenElse(is_below, hn::Mul(x, hn::Set(d, leaky_relu_slope)), x);
  }
  if constexpr (kind == Activation::elu) return hn::IfThenElse(is_below, hn::Expm1(d, x), x);
  return x;
}

template <Activation kind>
void epilogue_of(const Epilogue& epilogue, RowRange range, MatrixView values) {
  const Floats d;
  const bool has_bias = !epilogue.bias.empty();
  const bool drops = epilogue.dropout.is_active();
  if (!has_bias && kind == Activation::none && !drops) return;
  const float scale = drops ? epilogue.dropout.scale() : 1.0F;
  const std::uint32_t threshold = epilogue.dropout.threshold();
  const float* bias = epilogue.bias.data();
  const std::size_t first = epilogue.first_column;
  for (std::size_t r = range.first; r < range.last; ++r) {
    float* row = values.row(r);
    const std::uint32_t key = drops ? epilogue.dropout.row_key(r) : 0;
    const auto finish = [&](FloatVector value, std::size_t column) HWY_ATTR {
      value = activate<kind>(value);
      return drops ? drop(value, key, first + column, threshold, scale) : value;
    };
    for_columns(
        values.columns,
        [&](std::size_t c) HWY_ATTR {
          FloatVector value = hn::LoadU(d, row + c);
          if (has_bias) value = hn::Add(value, hn::LoadU(d, bias + c));
          hn::StoreU(finish(value, c), d, row + c);
        },
        [&](std::size_t c, std::size_t n) HWY_ATTR {
          FloatVector value = load_tail(row + c, n);
          if (has_bias) value = hn::Add(value, load_tail(bias + c, n));
          store_tail(finish(value, c), row + c, n);
        });
  }
}

void epilogue(const Epilogue& what, RowRange range, MatrixView values) {
  switch (what.activation) {
    case Activation::relu:
      return epilogue_of<Activation::relu>(what, range, values);
    case Activation::leaky_relu:
      return epilogue_of<Activation::leaky_relu>(what, range, values);
    case Activation::elu:
      return epilogue_of<Activation::elu>(what, range, values);
    case Activation::tanh:
      return epilogue_of<Activation::tanh>(what, range, values);
    default:
      return epilogue_of<Activation::none>(what, range, values);
  }
}

void epilogue_gradient(ConstMatrixView activated, const Epilogue& epilogue, RowRange range,
                       MatrixView gradient) {
  const Floats d;
  EpilogueGradient through(epilogue);
  for (std::size_t r = range.first; r < range.last; ++r) {
    const float* act = activated.row(r);
    float* row = gradient.row(r);
    through.set_row(r);
    for_columns(
        gradient.columns,
        [&](std::size_t c)
            HWY_ATTR { hn::StoreU(through(hn::LoadU(d, row + c), hn::LoadU(d, act + c), c), d, row + c); },
        [&](std::size_t c, std::size_t n)
            HWY_ATTR { store_tail(through(load_tail(row + c, n), load_tail(act + c, n), c), row + c, n); });
  }
}

void add_rows(ConstMatrixView x, RowRange range, MatrixView out) {
  const Floats d;
  for (std::size_t r = range.first; r < range.last; ++r) {
    const float* from = x.row(r);
    float* row = out.row(r);
    for_columns(
        out.columns,
        [&](std::size_t c)
            HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, row + c), hn::LoadU(d, from + c)), d, row + c); },
        [&](std::size_t c, std::size_t n)
            HWY_ATTR { store_tail(hn::Add(load_tail(row + c, n), load_tail(from + c, n)), row + c, n); });
  }
}

// `Vectors` vectors of columns at once: of each row a run of lines is read, not one line in a page.
template <std::size_t Vectors>
HWY_INLINE void column_sums_of(ConstMatrixView matrix, RowRange range, std::size_t column, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) sums[v] = hn::Zero(d);
  for (std::size_t r = range.first; r < range.last; ++r) {
    const float* row = matrix.row(r) + column;
    for (std::size_t v = 0; v < Vectors; ++v) sums[v] = hn::Add(sums[v], hn::LoadU(d, row + v * lanes));
  }
  for (std::size_t v = 0; v < Vectors; ++v) hn::StoreU(sums[v], d, out + column + v * lanes);
}

void column_sums(ConstMatrixView matrix, RowRange range, std::span<float> out) {
  const std::size_t lanes = lane_count();
  const std::size_t columns = matrix.columns;
  std::size_t column = 0;
  for (; column + 16 * lanes <= columns; column += 16 * lanes) {
    column_sums_of<16>(matrix, range, column, out.data());
  }
  for (; column + 4 * lanes <= columns; column += 4 * lanes) {
    column_sums_of<4>(matrix, range, column, out.data());
  }
  for (; column + lanes <= columns; column += lanes) column_sums_of<1>(matrix, range, column, out.data());
  if (const std::size_t rest = columns - column; rest != 0) {
    FloatVector sum = hn::Zero(Floats());
    for (std::size_t r = range.first; r < range.last; ++r)
      sum = hn::Add(sum, load_tail(matrix.row(r) + column, rest));
    store_tail(sum, out.data() + column, rest);
  }
}

void sum_parts(const float* parts, std::size_t part_count, std::size_t part_stride, std::span<float> out) {
  const Floats d;
  for_columns(
      out.size(),
      [&](std::size_t c) HWY_ATTR {
        FloatVector sum = hn::LoadU(d, parts + c);
        for (std::size_t p = 1; p < part_count; ++p)
          sum = hn::Add(sum, hn::LoadU(d, parts + p * part_stride + c));
        hn::StoreU(sum, d, out.data() + c);
      },
      [&](std::size_t c, std::size_t n) HWY_ATTR {
        FloatVector sum = load_tail(parts + c, n);
        for (std::size_t p = 1; p < part_count; ++p)
          sum = hn::Add(sum, load_tail(parts + p * part_stride + c, n));
        store_tail(sum, out.data() + c, n);
      });
}

double sum_of_squares(std::span<const float> values) {
  using Doubles = hn::ScalableTag<double>;
  const Doubles d;
  const hn::Rebind<float, Doubles> narrow;
  const std::size_t lanes = hn::Lanes(d);
  auto sums = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes) {
    const auto value = hn::PromoteTo(d, hn::LoadU(narrow, values.data() + i));
    sums = hn::MulAdd(value, value, sums);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < values.size(); ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

void scale_values(std::span<float> values, float factor) {
  const Floats d;
  const FloatVector factors = hn::Set(d, factor);
  float* data = values.data();
  for_columns(
      values.size(),
      [&](std::size_t i) HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, data + i), factors), d, data + i); },
      [&](std::size_t i, std::size_t n)
          HWY_ATTR { store_tail(hn::Mul(load_tail(data + i, n), factors), data + i, n); });
}

void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
          std::span<float> first_moments, std::span<float> second_moments) {
  const Floats d;
  const auto count = static_cast<double>(step.step);
  const double correction1 = 1.0 - std::pow(static_cast<double>(step.beta1), count);
  const double correction2 = 1.0 - std::pow(static_cast<double>(step.beta2), count);
  const auto rate = hn::Set(d, static_cast<float>(static_cast<double>(step.learning_rate) / correction1));
  const auto root2 = hn::Set(d, static_cast<float>(std::sqrt(correction2)));
  const auto epsilon = hn::Set(d, step.epsilon);
  const auto beta1 = hn::Set(d, step.beta1);
  const auto beta2 = hn::Set(d, step.beta2);
  const auto rest1 = hn::Set(d, 1.0F - step.beta1);
  const auto rest2 = hn::Set(d, 1.0F - step.beta2);
  const auto l2 = hn::Set(d, step.is_decoupled ? 0.0F : step.weight_decay);
  const auto keep = hn::Set(d, step.is_decoupled ? 1.0F - step.learning_rate * step.weight_decay : 1.0F);
  const auto move = [&](FloatVector& w, FloatVector g, FloatVector& m, FloatVector& v) HWY_ATTR {
    g = hn::MulAdd(w, l2, g);
    m = hn::MulAdd(g, rest1, hn::Mul(m, beta1));
    v = hn::MulAdd(hn::Mul(g, g), rest2, hn::Mul(v, beta2));
    const FloatVector scale = hn::Add(hn::Div(hn::Sqrt(v), root2), epsilon);
    w = hn::Sub(hn::Mul(w, keep), hn::Div(hn::Mul(rate, m), scale));
  };
  for_columns(
      values.size(),
      [&](std::size_t i) HWY_ATTR {
        FloatVector w = hn::LoadU(d, values.data() + i);
        FloatVector m = hn::LoadU(d, first_moments.data() + i);
        FloatVector v = hn::LoadU(d, second_moments.data() + i);
        move(w, hn::LoadU(d, gradients.data() + i), m, v);
        hn::StoreU(w, d, values.data() + i);
        hn::StoreU(m, d, first_moments.data() + i);
        hn::StoreU(v, d, second_moments.data() + i);
      },
      [&](std::size_t i, std::size_t n) HWY_ATTR {
        FloatVector w = load_tail(values.data() + i, n);
        FloatVector m = load_tail(first_moments.data() + i, n);
        FloatVector v = load_tail(second_moments.data() + i, n);
        move(w, load_tail(gradients.data() + i, n), m, v);
        store_tail(w, values.data() + i, n);
        store_tail(m, first_moments.data() + i, n);
        store_tail(v, second_moments.data() + i, n);
      });
}

const char* instruction_set() { return hwy::TargetName(HWY_TARGET); }

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(epilogue);
HWY_EXPORT(epilogue_gradient);
HWY_EXPORT(add_rows);
HWY_EXPORT(column_sums);
HWY_EXPORT(sum_parts);
HWY_EXPORT(sum_of_squares);
HWY_EXPORT(scale_values);
HWY_EXPORT(adam);
HWY_EXPORT(instruction_set);

void epilogue(const Epilogue& what, RowRange range, MatrixView values) {
  HWY_DYNAMIC_DISPATCH(epilogue)(what, range, values);
}
void epilogue_gradient(ConstMatrixView activated, const Epilogue& what, RowRange range, MatrixView gradient) {
  HWY_DYNAMIC_DISPATCH(epilogue_gradient)(activated, what, range, gradient);
}
void add_rows(ConstMatrixView x, RowRange range, MatrixView out) {
  HWY_DYNAMIC_DISPATCH(add_rows)(x, range, out);
}
void column_sums(ConstMatrixView matrix, RowRange range, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(column_sums)(matrix, range, out);
}
void sum_parts(const float* parts, std::size_t part_count, std::size_t part_stride, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(sum_parts)(parts, part_count, part_stride, out);
}
double sum_of_squares(std::span<const float> values) { return HWY_DYNAMIC_DISPATCH(sum_of_squares)(values); }
void scale_values(std::span<float> values, float factor) {
  HWY_DYNAMIC_DISPATCH(scale_values)(values, factor);
}
void adam(const AdamStep& step, std::span<float> values, std::span<const float> gradients,
          std::span<float> first_moments, std::span<float> second_moments) {
  HWY_DYNAMIC_DISPATCH(adam)(step, values, gradients, first_moments, second_moments);
}
const char* instruction_set() noexcept { return HWY_DYNAMIC_DISPATCH(instruction_set)(); }

}  // namespace gneiss::cpu
#endif
