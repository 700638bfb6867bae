// C = alpha op(A) op(B) + beta C, column-major, for the element types of cuBLAS.
//
// Why:     plain loops over packed operands, the innermost along a column: the compiler makes vectors of it,
//          and 1000 x 100 x 100 takes some milliseconds.
// Numbers: each element is a sum in float in the order of k. Where beta is 0, C is not read; where alpha is
// 0, A
//          and B are not.
#pragma once

#include <library_types.h>

#include <cstddef>

namespace gneiss::emulated_cuda {

struct GemmOperand {
  const void* data;
  cudaDataType type;
  std::size_t leading;
  bool is_transposed;
};

struct Gemm {
  std::size_t m, n, k;
  float alpha;
  GemmOperand a, b;
  float beta;
  void* c;
  cudaDataType c_type;
  std::size_t c_leading;
  bool rounds_to_tf32;  // the operands, to 10 bits of fraction
};

std::size_t bytes_of(cudaDataType type);
void multiply(const Gemm& gemm);

}  // namespace gneiss::emulated_cuda
