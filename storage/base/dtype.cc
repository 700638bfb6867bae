#include "storage/base/dtype.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "storage/base/error.h"

namespace gneiss {

std::size_t size_of(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::u8:
      return 1;
    case Dtype::u16:
    case Dtype::f16:
    case Dtype::bf16:
      return 2;
    case Dtype::u32:
    case Dtype::i32:
    case Dtype::f32:
      return 4;
    case Dtype::u64:
    case Dtype::i64:
    case Dtype::f64:
      return 8;
  }
  return 0;
}

std::string_view name_of(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::u8:
      return "u8";
    case Dtype::u16:
      return "u16";
    case Dtype::u32:
      return "u32";
    case Dtype::u64:
      return "u64";
    case Dtype::i32:
      return "i32";
    case Dtype::i64:
      return "i64";
    case Dtype::f16:
      return "f16";
    case Dtype::bf16:
      return "bf16";
    case Dtype::f32:
      return "f32";
    case Dtype::f64:
      return "f64";
  }
  return "unknown";
}

Dtype parse_feature_dtype(std::string_view name) {
  if (name == "f32") return Dtype::f32;
  if (name == "f16") return Dtype::f16;
  if (name == "bf16") return Dtype::bf16;
  fail(Kind::config, "feature dtype '{}' is unknown; use f32, f16 or bf16", name);
}

std::uint16_t to_f16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);  // NaN
  if (magnitude >= 0x47800000U)
    return static_cast<std::uint16_t>(sign | 0x7C00U);  // 65536 and more: infinity
  if (magnitude < 0x38800000U) {  // below 2^-14: subnormal, in units of 2^-24; the product is exact
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24F;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(scaled)));
  }
  // A carry out of the mantissa moves into the exponent, and out of the largest finite into infinity.
  const std::uint32_t rebased = magnitude - (112U << 23);
  return static_cast<std::uint16_t>(sign | ((rebased + 0xFFFU + ((rebased >> 13) & 1U)) >> 13));
}

float from_f16(std::uint16_t value) noexcept {
  const std::uint32_t sign = (std::uint32_t{value} & 0x8000U) << 16;
  const std::uint32_t exponent = (value >> 10) & 0x1FU;
  const std::uint32_t mantissa = value & 0x3FFU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

namespace {

template <class T>
T load(const std::byte* source, std::size_t index) noexcept {
  T value;
  std::memcpy(&value, source + index * sizeof(T), sizeof(T));
  return value;
}

float load_float(Dtype dtype, const std::byte* source, std::size_t index) {
  switch (dtype) {
    case Dtype::f16:
      return from_f16(load<std::uint16_t>(source, index));
    case Dtype::bf16:
      return from_bf16(load<std::uint16_t>(source, index));
    case Dtype::f32:
      return load<float>(source, index);
    case Dtype::f64:
      return static_cast<float>(load<double>(source, index));
    default:
      fail(Kind::config, "features of dtype {} are not supported", name_of(dtype));
  }
}

}  // namespace

void convert(Dtype from, const std::byte* source, Dtype to, std::byte* target, std::size_t count) {
  if (from == to) {
    std::memcpy(target, source, count * size_of(from));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const float value = load_float(from, source, i);
    if (to == Dtype::f32) {
      std::memcpy(target + i * sizeof(float), &value, sizeof(float));
    } else {
      GNEISS_ASSERT(to == Dtype::f16 || to == Dtype::bf16);
      const std::uint16_t half = to == Dtype::f16 ? to_f16(value) : to_bf16(value);
      std::memcpy(target + i * sizeof(half), &half, sizeof(half));
    }
  }
}

}  // namespace gneiss
