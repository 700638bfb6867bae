#include "tests/emulated_cuda/gemm.h"

#include <bit>
#include <cstdint>
#include <vector>

#include "tests/emulated_cuda/include/small_floats.h"

namespace gneiss::emulated_cuda {
namespace {

float read(const void* data, cudaDataType type, std::size_t at) {
  switch (type) {
    case CUDA_R_16F:
      return HalfFormat::to_float(static_cast<const std::uint16_t*>(data)[at]);
    case CUDA_R_16BF:
      return Bfloat16Format::to_float(static_cast<const std::uint16_t*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

void write(void* data, cudaDataType type, std::size_t at, float value) {
  switch (type) {
    case CUDA_R_16F:
      static_cast<std::uint16_t*>(data)[at] = HalfFormat::from_float(value);
      break;
    case CUDA_R_16BF:
      static_cast<std::uint16_t*>(data)[at] = Bfloat16Format::from_float(value);
      break;
    default:
      static_cast<float*>(data)[at] = value;
  }
}

// To nearest, ties away from zero, as the device's conversion does.
float round_to_tf32(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}

// op(X) as a column-major float matrix of rows x columns.
std::vector<float> pack(const GemmOperand& x, std::size_t rows, std::size_t columns, bool rounds_to_tf32) {
  std::vector<float> packed(rows * columns);
  for (std::size_t j = 0; j < columns; ++j) {
    for (std::size_t i = 0; i < rows; ++i) {
      const float value = read(x.data, x.type, x.is_transposed ? i * x.leading + j : j * x.leading + i);
      packed[j * rows + i] = rounds_to_tf32 ? round_to_tf32(value) : value;
    }
  }
  return packed;
}

}  // namespace

std::size_t bytes_of(cudaDataType type) { return type == CUDA_R_32F ? 4 : 2; }

void multiply(const Gemm& gemm) {
  const bool has_product = gemm.alpha != 0 && gemm.k > 0;
  std::vector<float> a, b;
  if (has_product) {
    a = pack(gemm.a, gemm.m, gemm.k, gemm.rounds_to_tf32);
    b = pack(gemm.b, gemm.k, gemm.n, gemm.rounds_to_tf32);
  }
  std::vector<float> column(gemm.m);
  for (std::size_t j = 0; j < gemm.n; ++j) {
    std::fill(column.begin(), column.end(), 0.0f);
    for (std::size_t l = 0; has_product && l < gemm.k; ++l) {
      const float factor = b[j * gemm.k + l];
      const float* const terms = a.data() + l * gemm.m;
      float* const sums = column.data();
      for (std::size_t i = 0; i < gemm.m; ++i) sums[i] += terms[i] * factor;
    }
    for (std::size_t i = 0; i < gemm.m; ++i) {
      const std::size_t at = j * gemm.c_leading + i;
      float value = gemm.alpha * column[i];
      if (gemm.beta != 0) value += gemm.beta * read(gemm.c, gemm.c_type, at);
      write(gemm.c, gemm.c_type, at, value);
    }
  }
}

}  // namespace gneiss::emulated_cuda
