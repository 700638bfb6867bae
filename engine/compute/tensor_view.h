// Borrowed memory as other libraries describe it: pointer, shape, strides, element type, device.
//
// Why:  field for field what DLPack's DLTensor holds, so that a Python module wraps a view without a copy
//       and without this library depending on DLPack's header.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/matrix_view.h"
#include "engine/compute/tiered_rows.h"
#include "storage/base/dtype.h"
#include "storage/base/error.h"

namespace gneiss {

struct Device {
  enum class Type : std::int32_t { cpu = 1, cuda = 2 };  // DLDeviceType
  Type type = Type::cpu;
  std::int32_t index = 0;

  friend bool operator==(const Device&, const Device&) = default;
};

struct DlpackDtype {
  std::uint8_t code = 0;  // DLDataTypeCode: 0 int, 1 unsigned, 2 float, 4 bfloat
  std::uint8_t bits = 0;
  std::uint16_t lanes = 1;

  friend bool operator==(const DlpackDtype&, const DlpackDtype&) = default;
};

constexpr DlpackDtype to_dlpack(Dtype dtype) {
  switch (dtype) {
    case Dtype::u8:
      return {1, 8, 1};
    case Dtype::u16:
      return {1, 16, 1};
    case Dtype::u32:
      return {1, 32, 1};
    case Dtype::u64:
      return {1, 64, 1};
    case Dtype::i32:
      return {0, 32, 1};
    case Dtype::i64:
      return {0, 64, 1};
    case Dtype::f16:
      return {2, 16, 1};
    case Dtype::bf16:
      return {4, 16, 1};
    case Dtype::f32:
      return {2, 32, 1};
    case Dtype::f64:
      return {2, 64, 1};
  }
  GNEISS_ASSERT(false);
}

struct TensorView {
  const void* data = nullptr;
  Dtype dtype = Dtype::f32;
  Device device;
  std::int32_t dimension_count = 0;
  std::array<std::int64_t, 2> shape{};
  std::array<std::int64_t, 2> strides{};  // in elements, as DLPack has them
};

inline TensorView tensor_view(ConstMatrixView matrix, Device device = {}) {
  const auto rows = static_cast<std::int64_t>(matrix.rows);
  const auto columns = static_cast<std::int64_t>(matrix.columns);
  return {matrix.data, Dtype::f32, device, 2, {rows, columns}, {static_cast<std::int64_t>(matrix.stride), 1}};
}

template <class T>
TensorView tensor_view(std::span<const T> values, Dtype dtype, Device device = {}) {
  GNEISS_ASSERT(sizeof(T) == size_of(dtype));
  return {values.data(), dtype, device, 1, {static_cast<std::int64_t>(values.size()), 0}, {1, 0}};
}

// The dense rows of one tier. Precondition: the range has no slots, and row_bytes is whole elements.
inline TensorView tensor_view(const TieredRows& rows, std::size_t range_index, Device device = {}) {
  const TierRange& range = rows.range(range_index);
  const std::size_t element = size_of(rows.dtype());
  GNEISS_ASSERT(range.slots == nullptr && rows.row_bytes() % element == 0);
  const auto stride = static_cast<std::int64_t>(rows.row_bytes() / element);
  return {range.base, rows.dtype(), device, 2, {range.count, rows.columns()}, {stride, 1}};
}

}  // namespace gneiss
