// Products of bf16 numbers, summed in f32, on processors with AVX512_BF16: packing, and one block's product.
//
// Why:     oneDNN's products take bf16 in memory; the operands here are f32, so rounding and packing are
//          one pass, and what is packed stays in the core's L2. The processor multiplies pairs of neighbors
//          along the summed dimension, so everything is packed in such pairs, one u32 each: the first in
//          the low half.
// Order:   a sum runs over its pairs in their order, in registers, then in blocks of a fixed number of pairs.
// Threads: none of their own. Values too small for a normal bf16 count as 0, as the processor has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/cpu/product.h"
#include "engine/compute/half_rows.h"
#include "engine/compute/matrix_view.h"

namespace gneiss::cpu {

// Whether this processor has what the rest of this header needs. Without it nothing else may be called.
bool has_bf16_products() noexcept;

inline constexpr std::size_t panel_columns = 32;  // of the right side: two vectors of sums

// Pairs of a panel that stay in L1 while all rows pass by: 128 of 128 bytes are 16 KiB.
inline constexpr std::size_t block_pairs = 128;

inline std::size_t pairs_of(std::size_t count) noexcept { return (count + 1) / 2; }
// u32s of a right side [k, m], packed in panels of columns, each [pairs of k][panel_columns].
std::size_t panel_words(std::size_t k, std::size_t m) noexcept;

// The left side of a product, packed: pair `p` of row `r` is data[r * row_stride + p * pair_stride].
struct PackedLeft {
  const std::uint32_t* data = nullptr;
  std::size_t rows = 0;
  std::size_t row_stride = 0;
  std::size_t pair_stride = 0;
};

// x[n, k] as the left side of a sum over its columns. out[n * pairs_of(k)]
PackedLeft pack_left(ConstMatrixView x, std::uint32_t* out);
// Rows kept as bf16 are packed as they lie.
PackedLeft as_left(ConstHalfView x);
// x[n, k] as the left side x^T of a sum over its rows. out[pairs_of(n) * round_up(k, 16)]
PackedLeft pack_left_transposed(ConstMatrixView x, std::uint32_t* out);
// Panel `panel` of the right side: of b[k, m], and of b^T where b is [m, k]. out: the panel's own.
void pack_panel(ConstMatrixView b, std::size_t panel, std::uint32_t* out);
void pack_panel(ConstHalfView b, std::size_t panel, std::uint32_t* out);
void pack_panel_transposed(ConstMatrixView b, std::size_t panel, std::uint32_t* out);

// Rows that will be packed next: their lines are asked for while the product before them is computed, some at
// each tile. Without that memory rests while the processor multiplies, and the other way around.
class RowsAhead {
 public:
  RowsAhead() = default;
  explicit RowsAhead(ConstMatrixView rows)
      : RowsAhead(rows.data, rows.rows, rows.columns * sizeof(float), rows.stride * sizeof(float)) {}
  explicit RowsAhead(ConstHalfView rows)
      : RowsAhead(rows.data, rows.rows, rows.columns * sizeof(std::uint16_t),
                  rows.stride * sizeof(std::uint16_t)) {}
  void plan(std::size_t turns);  // in how many calls of fetch()
  void fetch();

 private:
  RowsAhead(const void* data, std::size_t rows, std::size_t row_bytes, std::size_t stride_bytes);

  const char* data_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t stride_bytes_ = 0;
  std::size_t row_lines_ = 0;
  std::size_t lines_a_turn_ = 0;
  std::size_t row_ = 0;
  std::size_t line_ = 0;
};

// out[n, m] = a . b, or out += a . b; `pairs`: of the summed dimension. `ahead`: fetched meanwhile.
void multiply_packed(const PackedLeft& a, const std::uint32_t* panels, std::size_t pairs, MatrixView out,
                     Into into, std::span<RowsAhead> ahead = {});

// The same into rows kept as bf16. Precondition: pairs <= block_pairs, so that sums are whole when they are
// rounded.
void multiply_packed_rounded(const PackedLeft& a, const std::uint32_t* panels, std::size_t pairs,
                             HalfView out, std::span<RowsAhead> ahead = {});

}  // namespace gneiss::cpu
