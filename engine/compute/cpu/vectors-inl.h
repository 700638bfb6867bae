// Loads that widen to f32, tails that stay inside their row, and the way back of an activation.
// Included once per instruction set by the kernels' files.
#if defined(GNEISS_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GNEISS_VECTORS_INL_H_
#undef GNEISS_VECTORS_INL_H_
#else
#define GNEISS_VECTORS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/compute/backend.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using WordVector = hn::Vec<Words>;

HWY_INLINE std::size_t lane_count() { return hn::Lanes(Floats()); }

// The first `count` lanes from p, zeros after; reads no byte behind them.
HWY_INLINE FloatVector load_tail(const float* p, std::size_t count) {
  const Floats d;
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())] = {};
  // As bytes, for rows may start at any.
  std::memcpy(lanes, reinterpret_cast<const std::byte*>(p), count * sizeof(float));
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#endif
}

HWY_INLINE void store_tail(FloatVector value, float* p, std::size_t count) {
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())];
  hn::Store(value, Floats(), lanes);
  std::memcpy(reinterpret_cast<std::byte*>(p), lanes, count * sizeof(float));
}

// Calls full(column) for each whole vector and tail(column, count) for what is left.
template <class Full, class Tail>
HWY_INLINE void for_columns(std::size_t columns, const Full& full, const Tail& tail) {
  const std::size_t lanes = lane_count();
  std::size_t column = 0;
  for (; column + lanes <= columns; column += lanes) full(column);
  if (column != columns) tail(column, columns - column);
}

// How elements of each dtype become f32. `full` reads lane_count() of them at `column` of an unaligned
// row, `tail` the first `count`.
struct LoadF32 {
  static constexpr std::size_t bytes = 4;
  static HWY_INLINE FloatVector full(const std::byte* row, std::size_t column) {
    return hn::LoadU(Floats(), reinterpret_cast<const float*>(row + column * bytes));
  }
  static HWY_INLINE FloatVector tail(const std::byte* row, std::size_t column, std::size_t count) {
    return load_tail(reinterpret_cast<const float*>(row + column * bytes), count);
  }
};

template <class Half>
struct LoadHalf {
  static constexpr std::size_t bytes = 2;
  static HWY_INLINE FloatVector full(const std::byte* row, std::size_t column) {
    const hn::Rebind<Half, Floats> d;
    return hn::PromoteTo(Floats(), hn::LoadU(d, reinterpret_cast<const Half*>(row + column * bytes)));
  }
  static HWY_INLINE FloatVector tail(const std::byte* row, std::size_t column, std::size_t count) {
    HWY_ALIGN std::byte lanes[hn::MaxLanes(Floats()) * bytes] = {};
    std::memcpy(lanes, row + column * bytes, count * bytes);
    return full(lanes, 0);
  }
};
using LoadF16 = LoadHalf<hwy::float16_t>;
using LoadBf16 = LoadHalf<hwy::bfloat16_t>;

HWY_INLINE WordVector hash32(WordVector x) {
  const Words d;
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  x = hn::Mul(x, hn::Set(d, 0x7FEB352DU));
  x = hn::Xor(x, hn::ShiftRight<15>(x));
  x = hn::Mul(x, hn::Set(d, 0x846CA68BU));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

// value * scale where the mask of (row_key, columns from `column` on) keeps it, else 0.
HWY_INLINE FloatVector drop(FloatVector value, std::uint32_t row_key, std::size_t column,
                            std::uint32_t threshold, float scale) {
  const Words dw;
  const Floats df;
  const WordVector columns = hn::Iota(dw, static_cast<std::uint32_t>(column));
  const WordVector hash =
      hash32(hn::Xor(hn::Set(dw, row_key), hn::Mul(columns, hn::Set(dw, dropout_column_factor))));
  const auto dropped = hn::Lt(hash, hn::Set(dw, threshold));
  return hn::IfThenZeroElse(hn::RebindMask(df, dropped), hn::Mul(value, hn::Set(df, scale)));
}

// Takes a gradient through an epilogue, by what came out of it. After relu the output's zeros are the mask,
// dropout's included: an output is above 0 exactly where the input was and the element was kept.
class EpilogueGradient {
 public:
  explicit EpilogueGradient(const Epilogue& epilogue)
      : dropout_(epilogue.dropout),
        first_column_(epilogue.first_column),
        activation_(epilogue.activation),
        is_relu_(epilogue.activation == Activation::relu),
        hashes_(!is_relu_ && dropout_.is_active()),
        scale_(dropout_.is_active() ? dropout_.scale() : 1.0F),
        unscale_(dropout_.is_active() ? 1.0F - dropout_.probability : 1.0F),
        threshold_(dropout_.threshold()) {}

  HWY_INLINE void set_row(std::size_t row) {
    if (hashes_) row_key_ = dropout_.row_key(row);
  }
  HWY_INLINE FloatVector operator()(FloatVector gradient, FloatVector activated, std::size_t column) const {
    const Floats d;
    if (is_relu_) {
      return hn::IfThenElseZero(hn::Gt(activated, hn::Zero(d)), hn::Mul(gradient, hn::Set(d, scale_)));
    }
    if (activation_ != Activation::none) gradient = hn::Mul(gradient, slopes(activated));
    return hashes_ ? drop(gradient, row_key_, first_column_ + column, threshold_, scale_) : gradient;
  }

 private:
  HWY_INLINE FloatVector slopes(FloatVector activated) const {
    const Floats d;
    const FloatVector one = hn::Set(d, 1.0F);
    const FloatVector kept = hn::Mul(activated, hn::Set(d, unscale_));  // as it was before dropout
    switch (activation_) {
      case Activation::leaky_relu:
        return hn::IfThenElse(hn::Gt(kept, hn::Zero(d)), one, hn::Set(d, leaky_relu_slope));
      case Activation::elu:
        return hn::IfThenElse(hn::Lt(kept, hn::Zero(d)), hn::Add(kept, one), one);
      default:  // tanh
        return hn::NegMulAdd(kept, kept, one);
    }
  }

  const Dropout& dropout_;
  std::size_t first_column_;
  Activation activation_;
  bool is_relu_;
  bool hashes_;
  float scale_;
  float unscale_;
  std::uint32_t threshold_;
  std::uint32_t row_key_ = 0;
};

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
