// The first layer's input is not one matrix but a view over the tiers' memory: [gpu | cpu | page | disk].
//
// Why:    cached rows are read where they lie, through one u32 slot each; nothing is gathered twice.
// Memory: borrows all it points to. Rows may start at any byte: a base pointer need not be aligned, for
//         rows of 1433 halves are dense on disk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/compute/matrix_view.h"
#include "storage/base/dtype.h"
#include "storage/base/error.h"

namespace gneiss {

inline constexpr std::size_t tier_range_count_max = 4;

// A run of local ids whose rows come from one memory.
struct TierRange {
  const std::byte* base = nullptr;
  std::uint32_t first_local = 0;         // the local id of its first row; ranges follow one another
  std::uint32_t count = 0;               // may be 0
  const std::uint32_t* slots = nullptr;  // row i lies at base + slots[i] * slot_bytes; nullptr: slot i is i
  std::size_t slot_bytes = 0;            // row_bytes, unless rows lie at multiples of something else
};

class TieredRows {
 public:
  TieredRows() = default;
  // `row_bytes`: from one row to the next in every range, at least columns * size_of(dtype).
  TieredRows(Dtype dtype, std::uint32_t columns, std::size_t row_bytes)
      : dtype_(dtype), columns_(columns), row_bytes_(row_bytes) {
    GNEISS_ASSERT(dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16);
    GNEISS_ASSERT(row_bytes >= columns * size_of(dtype));
  }
  TieredRows(Dtype dtype, std::uint32_t columns) : TieredRows(dtype, columns, columns * size_of(dtype)) {}

  // A hidden layer's source rows: one dense range of f32.
  static TieredRows of(ConstMatrixView matrix) {
    TieredRows rows(Dtype::f32, static_cast<std::uint32_t>(matrix.columns), matrix.stride * sizeof(float));
    rows.append(reinterpret_cast<const std::byte*>(matrix.data), static_cast<std::uint32_t>(matrix.rows));
    return rows;
  }

  // The next `count` local ids. Append in tier order; at most tier_range_count_max times.
  //   slot_bytes  what slots count in; 0: rows
  void append(const std::byte* base, std::uint32_t count, const std::uint32_t* slots = nullptr,
              std::size_t slot_bytes = 0) {
    GNEISS_ASSERT(range_count_ < tier_range_count_max && (slots != nullptr || slot_bytes == 0));
    ranges_[range_count_++] = {base, row_count_, count, slots, slot_bytes == 0 ? row_bytes_ : slot_bytes};
    row_count_ += count;
  }

  // The same as a matrix. Precondition: one dense range of f32, as of() makes it.
  ConstMatrixView matrix() const {
    GNEISS_ASSERT(dtype_ == Dtype::f32 && range_count_ == 1 && ranges_[0].slots == nullptr);
    return {reinterpret_cast<const float*>(ranges_[0].base), row_count_, columns_,
            row_bytes_ / sizeof(float)};
  }

  // Columns [first, first + count) of the same rows.
  TieredRows column_range(std::uint32_t first, std::uint32_t count) const {
    GNEISS_ASSERT(first <= columns_ && count <= columns_ - first);
    TieredRows part = *this;
    part.columns_ = count;
    for (std::size_t r = 0; r < range_count_; ++r) part.ranges_[r].base += first * size_of(dtype_);
    return part;
  }

  // They are the first rows of `matrix` itself.
  bool lie_in(ConstMatrixView matrix) const noexcept {
    return dtype_ == Dtype::f32 && range_count_ == 1 && ranges_[0].slots == nullptr &&
           ranges_[0].base == reinterpret_cast<const std::byte*>(matrix.data) &&
           row_bytes_ == matrix.stride * sizeof(float);
  }

  Dtype dtype() const noexcept { return dtype_; }
  std::uint32_t columns() const noexcept { return columns_; }
  std::size_t row_bytes() const noexcept { return row_bytes_; }
  std::uint32_t row_count() const noexcept { return row_count_; }
  std::size_t range_count() const noexcept { return range_count_; }
  const TierRange& range(std::size_t index) const noexcept { return ranges_[index]; }

  // Precondition: local < row_count().
  const std::byte* row(std::uint32_t local) const noexcept {
    std::size_t r = range_count_ - 1;
    while (local < ranges_[r].first_local) --r;
    const TierRange& range = ranges_[r];
    const std::uint32_t index = local - range.first_local;
    return range.base + std::size_t{range.slots != nullptr ? range.slots[index] : index} * range.slot_bytes;
  }

 private:
  Dtype dtype_ = Dtype::f32;
  std::uint32_t columns_ = 0;
  std::size_t row_bytes_ = 0;
  std::uint32_t row_count_ = 0;
  std::size_t range_count_ = 0;
  std::array<TierRange, tier_range_count_max> ranges_{};
};

}  // namespace gneiss
