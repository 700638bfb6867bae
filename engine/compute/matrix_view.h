// A borrowed row-major matrix of f32, or of indices: rows may be further apart than they are wide.
//
// Memory: borrows; the memory belongs to a Buffer of some backend and lies on that backend's device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "storage/base/error.h"

namespace gneiss {

template <class T>
struct BasicMatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::size_t stride = 0;  // elements from one row to the next, >= columns

  BasicMatrixView() = default;
  BasicMatrixView(T* data_, std::size_t rows_, std::size_t columns_, std::size_t stride_)
      : data(data_), rows(rows_), columns(columns_), stride(stride_) {
    GNEISS_ASSERT(stride >= columns);
  }
  BasicMatrixView(T* data_, std::size_t rows_, std::size_t columns_)
      : BasicMatrixView(data_, rows_, columns_, columns_) {}

  bool empty() const noexcept { return rows == 0 || columns == 0; }
  bool is_dense() const noexcept { return stride == columns; }
  T* row(std::size_t index) const noexcept { return data + index * stride; }
  T& operator()(std::size_t row_index, std::size_t column) const noexcept { return row(row_index)[column]; }

  BasicMatrixView row_range(std::size_t first, std::size_t count) const {
    GNEISS_ASSERT(first <= rows && count <= rows - first);
    return {data + first * stride, count, columns, stride};
  }
  BasicMatrixView column_range(std::size_t first, std::size_t count) const {
    GNEISS_ASSERT(first <= columns && count <= columns - first);
    return {data + first, rows, count, stride};
  }

  // NOLINTNEXTLINE(google-explicit-constructor): reading needs less than writing
  operator BasicMatrixView<const T>() const noexcept
    requires(!std::is_const_v<T>)
  {
    return {data, rows, columns, stride};
  }
};

using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;
using IndexMatrixView = BasicMatrixView<std::uint32_t>;
using ConstIndexMatrixView = BasicMatrixView<const std::uint32_t>;

}  // namespace gneiss
