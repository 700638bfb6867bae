// Matrix products on the device, by cuBLAS: f32, tf32, or bf16 with sums in f32.
//
// Memory:  a workspace and, for bf16, both operands narrowed piece by piece; given once by set_memory().
// Order:   cuBLAS's own, which is the same from run to run on one device: it has a workspace of its own, one
//          stream, and adds by no atomics.
// Threads: one.
#pragma once

#include <cstdint>
#include <span>

#include "engine/compute/cuda/cublas_api.h"
#include "engine/compute/matrix_view.h"
#include "engine/compute/precision.h"

namespace gneiss::cuda {

enum class Into : std::uint8_t { set, add };

class Products {
 public:
  // Throws Error(config) where cuBLAS is not found.
  Products(cudaStream_t stream, Precision precision);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  Precision precision() const noexcept { return precision_; }
  // What set_memory() should give for weights of [out_columns, in_columns] or smaller.
  static std::uint64_t bytes(Precision precision, std::size_t in_columns, std::size_t out_columns) noexcept;
  void set_memory(std::span<std::byte> device_memory);

  // out[n, m] = or += x[n, k] . weight[m, k]^T
  void linear(ConstMatrixView x, ConstMatrixView weight, MatrixView out, Into into);
  // dx[n, k] = dz[n, m] . weight[m, k]
  void input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx);
  // out[m, k] = or += dz[n, m]^T . x[n, k]
  void outer(ConstMatrixView x, ConstMatrixView dz, MatrixView out, Into into);

 private:
  struct Operand;
  struct Narrowed;
  bool narrows(ConstMatrixView rows) const noexcept;
  std::size_t rows_at_once(std::size_t columns) const noexcept;
  Narrowed narrow(ConstMatrixView matrix, std::span<std::byte> memory) const;
  std::span<std::byte> weight_memory(ConstMatrixView weight) const;
  void multiply(const Operand& left, const Operand& right, std::size_t inner, MatrixView out, Into into);

  const CublasApi& api_;
  cublasHandle_t handle_ = nullptr;
  cudaStream_t stream_;
  Precision precision_;
  std::span<std::byte> rows_memory_;     // of narrowed rows, both kinds of a gradient's
  std::span<std::byte> weights_memory_;  // of narrowed weights
};

}  // namespace gneiss::cuda
