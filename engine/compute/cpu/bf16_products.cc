#include "engine/compute/cpu/bf16_products.h"

#include <algorithm>
#include <array>

#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/half_kernels.h"

namespace gneiss::cpu {
namespace {

// Rows that are packed at once for a product that sums over them: 128 of 512 columns are 128 KiB.
constexpr std::size_t summed_rows = 128;
// Rows of a piece that are multiplied at once, while the next ones are fetched.
constexpr std::size_t fetched_rows = 32;
// Words of a weight that one thread packs alone: some 10 us.
constexpr std::size_t packed_alone = 16384;

std::uint32_t* grown(AlignedBuffer& buffer, std::size_t words) {
  const std::size_t bytes = words * sizeof(std::uint32_t);
  if (buffer.size() < bytes) {
    buffer = {};  // before the larger one is taken
    buffer = AlignedBuffer(bytes);
  }
  return reinterpret_cast<std::uint32_t*>(buffer.data());
}

std::size_t transposed_words(std::size_t rows, std::size_t columns) {
  return pairs_of(rows) * round_up(columns, 16);
}

// What is kept needs no packing.
PackedLeft packed_left(ConstMatrixView x, std::uint32_t* out) { return pack_left(x, out); }
PackedLeft packed_left(ConstHalfView x, std::uint32_t* /*out*/) { return as_left(x); }

}  // namespace

Bf16Products::Bf16Products(const PieceRunner& pieces) : pieces_(pieces), rows_(pieces.thread_count()) {
  GNEISS_ASSERT(has_bf16_products());
}

std::uint64_t Bf16Products::bytes(std::size_t threads, std::size_t in_columns,
                                  std::size_t out_columns) noexcept {
  const std::size_t weight =
      std::max(panel_words(in_columns, out_columns), panel_words(out_columns, in_columns));
  const std::size_t rows =
      std::max(fetched_rows * (pairs_of(std::max(in_columns, out_columns)) + half_columns(in_columns)),
               transposed_words(summed_rows, out_columns) + panel_words(summed_rows, in_columns));
  // The alignment's rounding, once for each buffer.
  return (weight + threads * rows) * sizeof(std::uint32_t) + (threads + 1) * direct_io_alignment;
}

std::uint64_t Bf16Products::kept_bytes() const noexcept {
  std::uint64_t bytes = weight_.size();
  for (const AlignedBuffer& buffer : rows_) bytes += buffer.size();
  return bytes;
}

std::uint32_t* Bf16Products::packed_weight(std::size_t words) { return grown(weight_, words); }
std::uint32_t* Bf16Products::packed_rows(std::size_t worker, std::size_t words) {
  return grown(rows_[worker], words);
}

// A small weight is packed before another thread would be awake.
template <class Pack>
void Bf16Products::for_panels(std::size_t columns, std::size_t pairs, const Pack& pack) {
  const std::size_t panels = divide_up(columns, panel_columns);
  if (panels * pairs * panel_columns > packed_alone) return pieces_.run(panels, pack);
  for (std::size_t panel = 0; panel < panels; ++panel) pack(panel);
}

template <class Rows>
void Bf16Products::multiply_piece(Rows x, RowRange range, const std::uint32_t* panels, std::size_t pairs,
                                  MatrixView out, Into into, std::size_t worker) {
  std::uint32_t* const packed = packed_rows(worker, fetched_rows * pairs);
  for (std::size_t first = range.first; first < range.last; first += fetched_rows) {
    const std::size_t count = std::min(fetched_rows, range.last - first);
    const std::size_t next = first + count;
    RowsAhead ahead(x.row_range(next, std::min(fetched_rows, range.last - next)));
    multiply_packed(packed_left(x.row_range(first, count), packed), panels, pairs,
                    out.row_range(first, count), into, {&ahead, 1});
  }
}

template <class Rows>
void Bf16Products::multiply_weight(Rows x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out,
                                   Into into) {
  const std::size_t pairs = pairs_of(x.columns);
  std::uint32_t* const panels = packed_weight(panel_words(x.columns, out.columns));
  for_panels(out.columns, pairs, [&](std::size_t panel) {
    pack_panel_transposed(weight, panel, panels + panel * pairs * panel_columns);
  });
  pieces_.for_rows_of_worker(x.rows, [&](RowRange range, std::size_t worker) {
    multiply_piece(x, range, panels, pairs, out, into, worker);
    cpu::epilogue(epilogue, range, out);
  });
}

void Bf16Products::linear(ConstMatrixView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out,
                          Into into) {
  multiply_weight(x, weight, epilogue, out, into);
}
void Bf16Products::linear(ConstHalfView x, ConstMatrixView weight, const Epilogue& epilogue, MatrixView out,
                          Into into) {
  multiply_weight(x, weight, epilogue, out, into);
}

void Bf16Products::input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) {
  const std::size_t pairs = pairs_of(dz.columns);
  std::uint32_t* const panels = packed_weight(panel_words(dz.columns, dx.columns));
  for_panels(dx.columns, pairs,
             [&](std::size_t panel) { pack_panel(weight, panel, panels + panel * pairs * panel_columns); });
  pieces_.for_rows_of_worker(dz.rows, [&](RowRange range, std::size_t worker) {
    multiply_piece(dz, range, panels, pairs, dx, Into::set, worker);
  });
}

void Bf16Products::input_gradient(ConstMatrixView dz, ConstMatrixView weight, HalfView dx) {
  const std::size_t pairs = pairs_of(dz.columns);
  std::uint32_t* const panels = packed_weight(panel_words(dz.columns, dx.columns));
  for_panels(dx.columns, pairs,
             [&](std::size_t panel) { pack_panel(weight, panel, panels + panel * pairs * panel_columns); });
  pieces_.for_rows_of_worker(dz.rows, [&](RowRange range, std::size_t worker) {
    const std::size_t columns = half_columns(dx.columns);
    std::uint32_t* const packed = packed_rows(worker, fetched_rows * (pairs + columns));
    const MatrixView sums(reinterpret_cast<float*>(packed + fetched_rows * pairs), fetched_rows, columns);
    for (std::size_t first = range.first; first < range.last; first += fetched_rows) {
      const std::size_t count = std::min(fetched_rows, range.last - first);
      const std::size_t next = first + count;
      RowsAhead ahead(dz.row_range(next, std::min(fetched_rows, range.last - next)));
      const PackedLeft left = pack_left(dz.row_range(first, count), packed);
      const HalfView out = dx.row_range(first, count);
      if (pairs <= block_pairs) {
        multiply_packed_rounded(left, panels, pairs, out, {&ahead, 1});
      } else {  // summed block by block, in f32; the panels' zeros make those behind the columns
        multiply_packed(left, panels, pairs, sums.row_range(0, count), Into::set, {&ahead, 1});
        round_rows(sums.row_range(0, count), out);
      }
    }
  });
}

template <class Rows>
void Bf16Products::multiply_outer(Rows x, ConstMatrixView dz, MatrixView out, std::size_t worker) {
  const std::size_t left_words = transposed_words(summed_rows, dz.columns);
  std::uint32_t* const packed = packed_rows(worker, left_words + panel_words(summed_rows, x.columns));
  for (std::size_t first = 0; first < x.rows; first += summed_rows) {
    const std::size_t count = std::min(summed_rows, x.rows - first);
    const std::size_t pairs = pairs_of(count);
    const Rows right = x.row_range(first, count);
    const std::size_t next = std::min(summed_rows, x.rows - first - count);
    std::array<RowsAhead, 2> ahead{RowsAhead(x.row_range(first + count, next)),
                                   RowsAhead(dz.row_range(first + count, next))};
    const PackedLeft left = pack_left_transposed(dz.row_range(first, count), packed);
    for (std::size_t panel = 0; panel * panel_columns < x.columns; ++panel) {
      pack_panel(right, panel, packed + left_words + panel * pairs * panel_columns);
    }
    multiply_packed(left, packed + left_words, pairs, out, first > 0 ? Into::add : Into::set, ahead);
  }
}

void Bf16Products::outer_products(ConstMatrixView x, ConstMatrixView dz, MatrixView out, std::size_t worker) {
  multiply_outer(x, dz, out, worker);
}
void Bf16Products::outer_products(ConstHalfView x, ConstMatrixView dz, MatrixView out, std::size_t worker) {
  multiply_outer(x, dz, out, worker);
}

}  // namespace gneiss::cpu
