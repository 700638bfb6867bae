// Normalization between the products: sums down the columns, sums along the rows, and what they do to each
// element.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/compute/cpu/norm_kernels.cc"
#include <hwy/foreach_target.h>  // compiles this file once per instruction set
//
#include <hwy/highway.h>

#include "engine/compute/cpu/norm_kernels.h"
#include "engine/compute/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// Columns of one vector, or what is left of a row: loads and stores alike.
struct Columns {
  std::size_t first;
  std::size_t count;  // of the tail; 0: a whole vector

  HWY_INLINE FloatVector load(const float* row) const {
    return count == 0 ? hn::LoadU(Floats(), row + first) : load_tail(row + first, count);
  }
  HWY_INLINE FloatVector load(std::span<const float> row) const { return load(row.data()); }
  HWY_INLINE void store(FloatVector value, float* row) const {
    if (count == 0) {
      hn::StoreU(value, Floats(), row + first);
    } else {
      store_tail(value, row + first, count);
    }
  }
};

template <class Work>
HWY_INLINE void for_columns(std::size_t columns, const Work& work) {
  const std::size_t lanes = lane_count();
  std::size_t column = 0;
  for (; column + lanes <= columns; column += lanes) work(Columns{column, 0});
  if (column != columns) work(Columns{column, columns - column});
}

void column_square_sums(ConstMatrixView x, std::span<const float> mean, RowRange range,
                        std::span<float> out) {
  for_columns(x.columns, [&](Columns c) HWY_ATTR {
    FloatVector sum = hn::Zero(Floats());
    const FloatVector middle = c.load(mean);
    for (std::size_t r = range.first; r < range.last; ++r) {
      const FloatVector deviation = hn::Sub(c.load(x.row(r)), middle);
      sum = hn::MulAdd(deviation, deviation, sum);
    }
    c.store(sum, out.data());
  });
}

void column_product_sums(ConstMatrixView a, ConstMatrixView b, RowRange range, std::span<float> out) {
  for_columns(a.columns, [&](Columns c) HWY_ATTR {
    FloatVector sum = hn::Zero(Floats());
    for (std::size_t r = range.first; r < range.last; ++r)
      sum = hn::MulAdd(c.load(a.row(r)), c.load(b.row(r)), sum);
    c.store(sum, out.data());
  });
}

HWY_INLINE FloatVector inverse_root(FloatVector variance, float epsilon) {
  const Floats d;
  return hn::Div(hn::Set(d, 1.0F), hn::Sqrt(hn::Add(variance, hn::Set(d, epsilon))));
}

void batch_norm(std::span<const float> mean, std::span<const float> variance,
                const NormParameters& parameters, RowRange range, MatrixView values,
                MatrixView standardized) {
  const bool keeps = standardized.rows != 0;
  for_columns(values.columns, [&](Columns c) HWY_ATTR {
    const FloatVector middle = c.load(mean);
    const FloatVector inverse = inverse_root(c.load(variance), parameters.epsilon);
    const FloatVector weight = c.load(parameters.weight);
    const FloatVector bias = c.load(parameters.bias);
    for (std::size_t r = range.first; r < range.last; ++r) {
      const FloatVector value = hn::Mul(hn::Sub(c.load(values.row(r)), middle), inverse);
      if (keeps) c.store(value, standardized.row(r));
      c.store(hn::MulAdd(value, weight, bias), values.row(r));
    }
  });
}

// dx = weight / deviation * (dy - mean(dy) - x^ * mean(dy * x^)), means over all rows: bias_gradient and
// weight_gradient hold their sums.
void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                         const NormParameters& parameters, std::span<const float> weight_gradient,
                         std::span<const float> bias_gradient, RowRange range, MatrixView gradient) {
  const Floats d;
  const FloatVector share = hn::Set(d, 1.0F / static_cast<float>(gradient.rows));
  for_columns(gradient.columns, [&](Columns c) HWY_ATTR {
    const FloatVector factor =
        hn::Mul(c.load(parameters.weight), inverse_root(c.load(variance), parameters.epsilon));
    const FloatVector mean = hn::Mul(c.load(bias_gradient), share);
    const FloatVector slope = hn::Mul(c.load(weight_gradient), share);
    for (std::size_t r = range.first; r < range.last; ++r) {
      const FloatVector rest = hn::Sub(c.load(gradient.row(r)), mean);
      c.store(hn::Mul(factor, hn::NegMulAdd(c.load(standardized.row(r)), slope, rest)), gradient.row(r));
    }
  });
}

// The sum of what `work` gives for each vector of a row; lanes behind the row must be 0.
template <class Work>
HWY_INLINE float row_sum(std::size_t columns, const Work& work) {
  FloatVector sum = hn::Zero(Floats());
  for_columns(columns, [&](Columns c) HWY_ATTR { sum = hn::Add(sum, work(c)); });
  return hn::GetLane(hn::SumOfLanes(Floats(), sum));
}

void layer_norm(const NormParameters& parameters, RowRange range, MatrixView values, MatrixView standardized,
                std::span<float> inverse_deviation) {
  const Floats d;
  const std::size_t columns = values.columns;
  const float share = 1.0F / static_cast<float>(columns);
  for (std::size_t r = range.first; r < range.last; ++r) {
    float* row = values.row(r);
    const FloatVector mean =
        hn::Set(d, share * row_sum(columns, [&](Columns c) HWY_ATTR { return c.load(row); }));
    const float variance = share * row_sum(columns, [&](Columns c) HWY_ATTR {
                             FloatVector deviation = hn::Sub(c.load(row), mean);
                             if (c.count != 0)
                               deviation = hn::IfThenElseZero(hn::FirstN(d, c.count), deviation);
                             return hn::Mul(deviation, deviation);
                           });
    const FloatVector inverse = inverse_root(hn::Set(d, variance), parameters.epsilon);
    inverse_deviation[r] = hn::GetLane(inverse);
    float* kept = standardized.rows != 0 ? standardized.row(r) : nullptr;
    for_columns(columns, [&](Columns c) HWY_ATTR {
      const FloatVector value = hn::Mul(hn::Sub(c.load(row), mean), inverse);
      if (kept != nullptr) c.store(value, kept);
      c.store(hn::MulAdd(value, c.load(parameters.weight), c.load(parameters.bias)), row);
    });
  }
}

// The same as batch norm's with rows for columns: what comes back is dy * weight.
void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                         const NormParameters& parameters, RowRange range, MatrixView gradient) {
  const Floats d;
  const std::size_t columns = gradient.columns;
  const float share = 1.0F / static_cast<float>(columns);
  for (std::size_t r = range.first; r < range.last; ++r) {
    float* row = gradient.row(r);
    const float* x = standardized.row(r);
    const auto weighted = [&](Columns c) HWY_ATTR { return hn::Mul(c.load(row), c.load(parameters.weight)); };
    const FloatVector mean = hn::Set(d, share * row_sum(columns, weighted));
    const FloatVector slope = hn::Set(
        d, share * row_sum(columns, [&](Columns c) HWY_ATTR { return hn::Mul(weighted(c), c.load(x)); }));
    const FloatVector inverse = hn::Set(d, inverse_deviation[r]);
    for_columns(columns, [&](Columns c) HWY_ATTR {
      const FloatVector rest = hn::Sub(weighted(c), mean);
      c.store(hn::Mul(inverse, hn::NegMulAdd(c.load(x), slope, rest)), row);
    });
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gneiss::cpu {
HWY_EXPORT(column_square_sums);
HWY_EXPORT(column_product_sums);
HWY_EXPORT(batch_norm);
HWY_EXPORT(batch_norm_gradient);
HWY_EXPORT(layer_norm);
HWY_EXPORT(layer_norm_gradient);

void column_square_sums(ConstMatrixView x, std::span<const float> mean, RowRange range,
                        std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(column_square_sums)(x, mean, range, out);
}
void column_product_sums(ConstMatrixView a, ConstMatrixView b, RowRange range, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(column_product_sums)(a, b, range, out);
}
void batch_norm(std::span<const float> mean, std::span<const float> variance,
                const NormParameters& parameters, RowRange range, MatrixView values,
                MatrixView standardized) {
  HWY_DYNAMIC_DISPATCH(batch_norm)(mean, variance, parameters, range, values, standardized);
}
void batch_norm_gradient(ConstMatrixView standardized, std::span<const float> variance,
                         const NormParameters& parameters, std::span<const float> weight_gradient,
                         std::span<const float> bias_gradient, RowRange range, MatrixView gradient) {
  HWY_DYNAMIC_DISPATCH(batch_norm_gradient)
  (standardized, variance, parameters, weight_gradient, bias_gradient, range, gradient);
}
void layer_norm(const NormParameters& parameters, RowRange range, MatrixView values, MatrixView standardized,
                std::span<float> inverse_deviation) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(parameters, range, values, standardized, inverse_deviation);
}
void layer_norm_gradient(ConstMatrixView standardized, std::span<const float> inverse_deviation,
                         const NormParameters& parameters, RowRange range, MatrixView gradient) {
  HWY_DYNAMIC_DISPATCH(layer_norm_gradient)(standardized, inverse_deviation, parameters, range, gradient);
}

}  // namespace gneiss::cpu
#endif
