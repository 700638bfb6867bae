// The 16-bit floats: their formats, and what __half and __nv_bfloat16 have in common.
//
// Rounding: to nearest, ties to even; a NaN becomes 0x7fff, as the device makes it. Arithmetic is done in
//           float and rounded once, which is exact for + - * and for a fused multiply-add in double.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace gneiss::emulated_cuda {

struct HalfFormat {
  static float to_float(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = bits >> 10 & 0x1fu;
    const std::uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0) {
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
    }
    const std::uint32_t wide = exponent == 0x1f ? 0xffu : exponent + 112;
    return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
  }
  static std::uint16_t from_float(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return 0x7fff;
    // 65520 lies half way between the greatest half and what would come next.
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
    if (magnitude < 0x38800000u) {
      // Below 2^-14 halves are multiples of 2^-24: adding 0.5 leaves the multiple, rounded, in the low bits.
      const float sum = std::bit_cast<float>(magnitude) + 0.5f;
      return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3f000000u));
    }
    const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
  }
};

struct Bfloat16Format {
  static float to_float(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  static std::uint16_t from_float(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
};

template <class Format>
class SmallFloat {
 public:
  SmallFloat() = default;
  SmallFloat(float value) : bits_(Format::from_float(value)) {}
  SmallFloat(double value) : SmallFloat(static_cast<float>(value)) {}
  SmallFloat(int value) : SmallFloat(static_cast<float>(value)) {}
  operator float() const { return Format::to_float(bits_); }

  static SmallFloat from_bits(std::uint16_t bits) {
    SmallFloat value;
    value.bits_ = bits;
    return value;
  }
  std::uint16_t bits() const { return bits_; }

 private:
  std::uint16_t bits_;
};

// Two of them in one 32-bit word.
template <class Format>
struct alignas(4) SmallFloat2 {
  SmallFloat<Format> x, y;
};

template <class Format>
SmallFloat<Format> fused(SmallFloat<Format> a, SmallFloat<Format> b, SmallFloat<Format> c) {
  // The product is exact in float; the sum of both is exact enough in double to round as one step would.
  return static_cast<float>(static_cast<double>(float(a)) * float(b) + float(c));
}

}  // namespace gneiss::emulated_cuda

// The arithmetic both types have, found by argument-dependent lookup or in the global namespace.
// NOLINTBEGIN: the names are CUDA's.
#define GNEISS_SMALL template <class F>
#define GNEISS_ONE gneiss::emulated_cuda::SmallFloat<F>
#define GNEISS_TWO gneiss::emulated_cuda::SmallFloat2<F>
GNEISS_SMALL GNEISS_ONE __hadd(GNEISS_ONE a, GNEISS_ONE b) { return float(a) + float(b); }
GNEISS_SMALL GNEISS_ONE __hsub(GNEISS_ONE a, GNEISS_ONE b) { return float(a) - float(b); }
GNEISS_SMALL GNEISS_ONE __hmul(GNEISS_ONE a, GNEISS_ONE b) { return float(a) * float(b); }
GNEISS_SMALL GNEISS_ONE __hdiv(GNEISS_ONE a, GNEISS_ONE b) { return float(a) / float(b); }
GNEISS_SMALL GNEISS_ONE __hfma(GNEISS_ONE a, GNEISS_ONE b, GNEISS_ONE c) {
  return gneiss::emulated_cuda::fused(a, b, c);
}
GNEISS_SMALL GNEISS_ONE __hneg(GNEISS_ONE a) { return GNEISS_ONE::from_bits(a.bits() ^ 0x8000u); }
GNEISS_SMALL GNEISS_ONE __habs(GNEISS_ONE a) { return GNEISS_ONE::from_bits(a.bits() & 0x7fffu); }
GNEISS_SMALL GNEISS_ONE __hmax(GNEISS_ONE a, GNEISS_ONE b) { return std::fmax(float(a), float(b)); }
GNEISS_SMALL GNEISS_ONE __hmin(GNEISS_ONE a, GNEISS_ONE b) { return std::fmin(float(a), float(b)); }
GNEISS_SMALL bool __heq(GNEISS_ONE a, GNEISS_ONE b) { return float(a) == float(b); }
GNEISS_SMALL bool __hne(GNEISS_ONE a, GNEISS_ONE b) { return float(a) < float(b) || float(a) > float(b); }
GNEISS_SMALL bool __hlt(GNEISS_ONE a, GNEISS_ONE b) { return float(a) < float(b); }
GNEISS_SMALL bool __hle(GNEISS_ONE a, GNEISS_ONE b) { return float(a) <= float(b); }
GNEISS_SMALL bool __hgt(GNEISS_ONE a, GNEISS_ONE b) { return float(a) > float(b); }
GNEISS_SMALL bool __hge(GNEISS_ONE a, GNEISS_ONE b) { return float(a) >= float(b); }
GNEISS_SMALL bool __hisnan(GNEISS_ONE a) { return std::isnan(float(a)); }
GNEISS_SMALL GNEISS_TWO __hadd2(GNEISS_TWO a, GNEISS_TWO b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
GNEISS_SMALL GNEISS_TWO __hsub2(GNEISS_TWO a, GNEISS_TWO b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
GNEISS_SMALL GNEISS_TWO __hmul2(GNEISS_TWO a, GNEISS_TWO b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
GNEISS_SMALL GNEISS_TWO __hmax2(GNEISS_TWO a, GNEISS_TWO b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
GNEISS_SMALL GNEISS_TWO __hmin2(GNEISS_TWO a, GNEISS_TWO b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
GNEISS_SMALL GNEISS_TWO __hfma2(GNEISS_TWO a, GNEISS_TWO b, GNEISS_TWO c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
GNEISS_SMALL float __low2float(GNEISS_TWO a) { return a.x; }
GNEISS_SMALL float __high2float(GNEISS_TWO a) { return a.y; }
#undef GNEISS_SMALL
#undef GNEISS_ONE
#undef GNEISS_TWO
// NOLINTEND
