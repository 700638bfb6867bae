// Some columns of a row at once, in the widest loads and stores that its place in memory allows.
//
// Why:  a row's columns go to consecutive threads; with 16 bytes each, a warp moves 512 bytes in one
//       instruction.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "engine/compute/matrix_view.h"
#include "engine/compute/tiered_rows.h"
#include "storage/base/dtype.h"
#include "storage/base/error.h"

namespace gneiss::cuda {

// Rows that are asked for before the first is added: there is nothing else to wait with.
inline constexpr std::uint32_t rows_ahead = 4;

template <unsigned N>
struct Floats {
  float at[N];

  __device__ static Floats all(float value) {
    Floats result;
    for (unsigned i = 0; i < N; ++i) result.at[i] = value;
    return result;
  }
};

template <unsigned N>
__device__ __forceinline__ void add_to(Floats<N>& sum, const Floats<N>& x) {
  for (unsigned i = 0; i < N; ++i) sum.at[i] += x.at[i];
}
template <unsigned N>
__device__ __forceinline__ void add_to(Floats<N>& sum, const Floats<N>& x, float factor) {
  for (unsigned i = 0; i < N; ++i) sum.at[i] = fmaf(x.at[i], factor, sum.at[i]);
}
template <unsigned N>
__device__ __forceinline__ Floats<N> times(const Floats<N>& x, float factor) {
  Floats<N> result;
  for (unsigned i = 0; i < N; ++i) result.at[i] = x.at[i] * factor;
  return result;
}

template <unsigned N>
__device__ __forceinline__ Floats<N> load(const float* p) {
  Floats<N> result;
  if constexpr (N == 4) {
    const float4 x = *reinterpret_cast<const float4*>(p);
    result = {{x.x, x.y, x.z, x.w}};
  } else if constexpr (N == 8) {
    const float4 x = *reinterpret_cast<const float4*>(p);
    const float4 y = *reinterpret_cast<const float4*>(p + 4);
    result = {{x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w}};
  } else if constexpr (N == 2) {
    const float2 x = *reinterpret_cast<const float2*>(p);
    result = {{x.x, x.y}};
  } else {
    result = {{*p}};
  }
  return result;
}

template <unsigned N>
__device__ __forceinline__ void store(const Floats<N>& value, float* p) {
  if constexpr (N == 4) {
    *reinterpret_cast<float4*>(p) = make_float4(value.at[0], value.at[1], value.at[2], value.at[3]);
  } else if constexpr (N == 8) {
    *reinterpret_cast<float4*>(p) = make_float4(value.at[0], value.at[1], value.at[2], value.at[3]);
    *reinterpret_cast<float4*>(p + 4) = make_float4(value.at[4], value.at[5], value.at[6], value.at[7]);
  } else if constexpr (N == 2) {
    *reinterpret_cast<float2*>(p) = make_float2(value.at[0], value.at[1]);
  } else {
    *p = value.at[0];
  }
}

// Features are stored as T and computed with as f32.
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T, unsigned N>
struct alignas(sizeof(T) * N) Packed {
  T at[N];
};

template <class T, unsigned N>
__device__ __forceinline__ Floats<N> load_row(const std::byte* row, std::size_t column) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return load<N>(reinterpret_cast<const float*>(row) + column);
  } else {
    const Packed<T, N> x = *reinterpret_cast<const Packed<T, N>*>(row + column * sizeof(T));
    Floats<N> result;
    for (unsigned i = 0; i < N; ++i) result.at[i] = widen(x.at[i]);
    return result;
  }
}

// How many columns a thread may take at once: as many as fit the alignment of every row in question.
class VectorWidth {
 public:
  VectorWidth() = default;
  // For with_wide_rows(): 16 bytes of features, whatever their type.
  explicit VectorWidth(const TieredRows& rows) : value_(size_of(rows.dtype()) == 2 ? 8 : 4) {}

  unsigned value() const noexcept { return value_; }
  void at_most(std::size_t count) {
    while (value_ > 1 && value_ > count) value_ /= 2;
  }
  void columns(std::size_t count) {
    while (count % value_ != 0) value_ /= 2;
  }
  void bytes(std::uintptr_t offset, std::size_t element) {
    GNEISS_ASSERT(offset % element == 0);
    while (offset % (value_ * element) != 0) value_ /= 2;
  }
  template <class T>
  void matrix(BasicMatrixView<T> matrix) {
    if (matrix.rows == 0) return;
    columns(matrix.columns);
    bytes(reinterpret_cast<std::uintptr_t>(matrix.data), sizeof(float));
    if (matrix.rows > 1) bytes(matrix.stride * sizeof(float), sizeof(float));
  }
  void rows(const TieredRows& rows) {
    const std::size_t element = size_of(rows.dtype());
    columns(rows.columns());
    for (std::size_t r = 0; r < rows.range_count(); ++r) {
      const TierRange& range = rows.range(r);
      if (range.count == 0) continue;
      bytes(reinterpret_cast<std::uintptr_t>(range.base), element);
      bytes(range.slot_bytes, element);
    }
  }

 private:
  unsigned value_ = 4;
};

// Calls work.template operator()<N>() with the width as a constant.
template <class Work>
void with_width(VectorWidth width, const Work& work) {
  switch (width.value()) {
    case 4:
      return work.template operator()<4>();
    case 2:
      return work.template operator()<2>();
    default:
      return work.template operator()<1>();
  }
}

// The same with the type of the features.
template <class Work>
void with_rows(const TieredRows& rows, VectorWidth width, const Work& work) {
  width.rows(rows);
  width.at_most(4);
  with_width(width, [&]<unsigned N>() {
    switch (rows.dtype()) {
      case Dtype::f16:
        return work.template operator()<__half, N>();
      case Dtype::bf16:
        return work.template operator()<__nv_bfloat16, N>();
      default:
        return work.template operator()<float, N>();
    }
  });
}

// The same with 8 columns at once of f16 and bf16.
template <class Work>
void with_wide_rows(const TieredRows& rows, VectorWidth width, const Work& work) {
  width.rows(rows);
  if (width.value() < 8) return with_rows(rows, width, work);
  return rows.dtype() == Dtype::f16 ? work.template operator()<__half, 8>()
                                    : work.template operator()<__nv_bfloat16, 8>();
}

}  // namespace gneiss::cuda
