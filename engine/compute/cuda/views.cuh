// What the host's views of a batch look like to a kernel: plain structures, passed by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/compute/backend.h"

namespace gneiss::cuda {

template <class T>
struct Matrix {
  T* data = nullptr;  // nullptr: none
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  std::size_t stride = 0;

  Matrix() = default;
  Matrix(BasicMatrixView<T> view)  // NOLINT(google-explicit-constructor): every launch does it
      : data(view.rows == 0 ? nullptr : view.data),
        rows(static_cast<std::uint32_t>(view.rows)),
        columns(static_cast<std::uint32_t>(view.columns)),
        stride(view.stride) {}
  __device__ T* row(std::size_t index) const { return data + index * stride; }
};
using FloatMatrix = Matrix<float>;
using ConstFloatMatrix = Matrix<const float>;

struct Rows {
  TierRange ranges[tier_range_count_max];
  std::uint32_t range_count = 0;

  explicit Rows(const TieredRows& rows) : range_count(static_cast<std::uint32_t>(rows.range_count())) {
    for (std::uint32_t r = 0; r < range_count; ++r) ranges[r] = rows.range(r);
  }
  __device__ const std::byte* row(std::uint32_t local) const {
    std::uint32_t r = range_count - 1;
    while (local < ranges[r].first_local) --r;
    const TierRange& range = ranges[r];
    const std::uint32_t index = local - range.first_local;
    return range.base + std::size_t{range.slots != nullptr ? range.slots[index] : index} * range.slot_bytes;
  }
};

struct Block {
  std::uint32_t dst_count = 0;
  std::uint32_t src_count = 0;
  const std::uint32_t* indptr = nullptr;
  const std::uint32_t* indices = nullptr;
  const std::uint32_t* dst_in_src = nullptr;  // nullptr: destinations are the first sources
  const std::uint32_t* transposed_indptr = nullptr;
  const std::uint32_t* transposed_indices = nullptr;
  const std::uint32_t* transposed_edges = nullptr;

  explicit Block(const BlockView& block)
      : dst_count(block.dst_count),
        src_count(block.src_count),
        indptr(block.indptr.data()),
        indices(block.indices.data()),
        dst_in_src(block.dst_in_src.empty() ? nullptr : block.dst_in_src.data()),
        transposed_indptr(block.transposed_indptr.data()),
        transposed_indices(block.transposed_indices.data()),
        transposed_edges(block.transposed_edges.data()) {}

  __device__ std::uint32_t degree(std::uint32_t dst) const { return indptr[dst + 1] - indptr[dst]; }
  __device__ std::uint32_t row_of(std::uint32_t dst) const {
    return dst_in_src == nullptr ? dst : dst_in_src[dst];
  }
};

template <class T>
const T* data_or_null(std::span<const T> values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace gneiss::cuda
