// Element types of matrices and sections, with the conversions between the floating ones.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gneiss {

// The values are written to disk: never renumber.
enum class Dtype : std::uint16_t {
  u8 = 1,
  u16 = 2,
  u32 = 3,
  u64 = 4,
  i32 = 5,
  i64 = 6,
  f16 = 7,
  bf16 = 8,
  f32 = 9,
  f64 = 10
};

std::size_t size_of(Dtype dtype) noexcept;         // bytes per element; 0 for a value no version wrote
std::string_view name_of(Dtype dtype) noexcept;    // "f32"
Dtype parse_feature_dtype(std::string_view name);  // f32 | f16 | bf16; throws Error(config)

// Round to nearest even; NaN stays NaN.
inline std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}
inline float from_bf16(std::uint16_t value) noexcept {
  return std::bit_cast<float>(std::uint32_t{value} << 16);
}
std::uint16_t to_f16(float value) noexcept;
float from_f16(std::uint16_t value) noexcept;

// Converts `count` elements between f16, bf16, f32 (and from f64). Ranges must not overlap.
void convert(Dtype from, const std::byte* source, Dtype to, std::byte* target, std::size_t count);

}  // namespace gneiss
