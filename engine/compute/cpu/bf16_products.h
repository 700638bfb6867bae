// The backend's three products in bf16 with sums in f32: who packs what, into which memory.
//
// Why:     operands stay f32 in memory. Weights are packed once a call, rows by the thread that multiplies
//          them; both are little beside the product.
// Memory:  packed weights, and for each thread its packed rows; grown at the first call that needs more,
//          bytes() says to what.
// Order:   as in f32: pieces and sums depend on shapes alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/compute/cpu/pieces.h"
#include "engine/compute/cpu/product.h"
#include "engine/compute/half_rows.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss::cpu {

class Bf16Products {
 public:
  // `pieces` outlives this. Precondition: has_bf16_products().
  explicit Bf16Products(const PieceRunner& pieces);

  // The most that products of [rows, in] by [out, in] weights will take, whatever the rows.
  static std::uint64_t bytes(std::size_t threads, std::size_t in_columns, std::size_t out_columns) noexcept;

  std::uint64_t kept_bytes() const noexcept;

  // out[n, m] = epilogue((out +) x[n, k] . weight[m, k]^T)
  void linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out, Into into);
  // dx[n, k] = dz[n, m] . weight[m, k]
  void input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx);
  // out[m, k] = dz[n, m]^T . x[n, k]: one thread's, whose number is `worker`
  void outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView out, std::size_t worker);

  // The same where x, or dx, is kept as bf16: equal to the bit, but for dx's rounding.
  void linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out, Into into);
  void input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx);
  void outer_products(ConstHalfView x, ConstMatrixView dz, MatrixView out, std::size_t worker);

 private:
  template <class Rows>
  void multiply_weight(Rows x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out, Into into);
  template <class Rows>
  void multiply_outer(Rows x, ConstMatrixView dz, MatrixView out, std::size_t worker);
  // Calls pack(panel) for each panel of a right side with so many columns.
  template <class Pack>
  void for_panels(std::size_t columns, std::size_t pairs, const Pack& pack);
  // Rows `range` of out from those of x; `panels`: the packed right side.
  template <class Rows>
  void multiply_piece(Rows x, RowRange range, const std::uint32_t* panels, std::size_t pairs, MatrixView out,
                      Into into, std::size_t worker);
  std::uint32_t* packed_weight(std::size_t words);
  std::uint32_t* packed_rows(std::size_t worker, std::size_t words);

  const PieceRunner& pieces_;
  AlignedBuffer weight_;
  std::vector<AlignedBuffer> rows_;  // one a thread
};

}  // namespace gneiss::cpu
