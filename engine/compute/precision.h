// In which numbers matrix products are computed; everything else is f32 whatever this is, but for what
// HalfOperators keep.
#pragma once

#include <cstdint>
#include <string_view>

namespace gneiss {

enum class Precision : std::uint8_t {
  f32,
  // On CUDA devices: both sides of a product are rounded to 11 bits of mantissa and summed in f32.
  tf32,
  // Both sides of a product are rounded to bf16 and summed in f32. Weights, their gradients and the
  // optimizer's moments, activations, sums over neighbors and the loss stay f32. On the processor attention
  // also keeps its rows, their sums and the sums' gradients as bf16: see half_rows.h.
  bf16,
};

std::string_view name_of(Precision precision) noexcept;
Precision parse_precision(std::string_view name);  // throws Error(config)

}  // namespace gneiss
