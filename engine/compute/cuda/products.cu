#include <algorithm>

#include "engine/compute/cuda/check.h"
#include "engine/compute/cuda/launch.cuh"
#include "engine/compute/cuda/products.h"
#include "engine/compute/cuda/vectors.cuh"
#include "engine/compute/cuda/views.cuh"
#include "storage/base/error.h"

namespace gneiss::cuda {
namespace {

// What NVIDIA recommends for Hopper; older devices need less.
constexpr std::uint64_t workspace_bytes = 32ULL << 20;
// Narrowed rows: 64 MiB are 131,072 of 256 columns, and a few pieces of a batch keep every multiprocessor.
constexpr std::uint64_t narrowed_rows_bytes = 64ULL << 20;
// Few rows are multiplied in f32, as on the CPU: weights of weights, as attention has them, keep their
// digits.
constexpr std::size_t narrowed_rows_min = 16;
// Tensor cores want rows of 16 bytes.
constexpr std::size_t narrowed_columns = 8;

std::size_t padded(std::size_t columns) { return round_up(columns, narrowed_columns); }
std::size_t narrowed_bytes(std::size_t rows, std::size_t columns) {
  return rows * padded(columns) * sizeof(__nv_bfloat16);
}

__global__ void narrow_kernel(ConstFloatMatrix from, __nv_bfloat16* to, std::size_t to_stride) {
  const std::uint32_t row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= from.rows) return;
  for (std::uint32_t c = threadIdx.x; c < from.columns; c += blockDim.x) {
    to[row * to_stride + c] = __float2bfloat16_rn(from.row(row)[c]);
  }
}

}  // namespace

// A row-major matrix, which cuBLAS sees as its column-major transpose.
struct Products::Operand {
  const void* data = nullptr;
  cudaDataType type = CUDA_R_32F;
  std::size_t stride = 0;
  bool is_transposed = false;
};

struct Products::Narrowed {
  const __nv_bfloat16* data = nullptr;
  std::size_t stride = 0;
};

Products::Products(cudaStream_t stream, Precision precision)
    : api_(cublas_api()), stream_(stream), precision_(precision) {
  check(api_.create(&handle_), "starting cuBLAS");
  check(api_.set_stream(handle_, stream), "starting cuBLAS");
}

Products::~Products() { api_.destroy(handle_); }

std::uint64_t Products::bytes(Precision precision, std::size_t in_columns, std::size_t out_columns) noexcept {
  if (precision != Precision::bf16) return workspace_bytes;
  return workspace_bytes + narrowed_rows_bytes +
         round_up(std::max(narrowed_bytes(out_columns, in_columns), narrowed_bytes(in_columns, out_columns)),
                  256);
}

void Products::set_memory(std::span<std::byte> device_memory) {
  GNEISS_ASSERT(device_memory.size() >= workspace_bytes);
  check(api_.set_workspace(handle_, device_memory.data(), workspace_bytes), "starting cuBLAS");
  if (precision_ != Precision::bf16) return;
  GNEISS_ASSERT(device_memory.size() >= workspace_bytes + narrowed_rows_bytes);
  rows_memory_ = device_memory.subspan(workspace_bytes, narrowed_rows_bytes);
  weights_memory_ = device_memory.subspan(workspace_bytes + narrowed_rows_bytes);
}

bool Products::narrows(ConstMatrixView rows) const noexcept {
  return precision_ == Precision::bf16 && rows.rows >= narrowed_rows_min && rows.columns > 0;
}

// Of both operands that have rows together.
std::size_t Products::rows_at_once(std::size_t columns) const noexcept {
  return std::max<std::size_t>(1, rows_memory_.size() / (columns * sizeof(__nv_bfloat16)));
}

Products::Narrowed Products::narrow(ConstMatrixView matrix, std::span<std::byte> memory) const {
  GNEISS_ASSERT(narrowed_bytes(matrix.rows, matrix.columns) <= memory.size());
  auto* const data = reinterpret_cast<__nv_bfloat16*>(memory.data());
  launch(stream_, row_grid(matrix.rows, matrix.columns, 1), narrow_kernel, ConstFloatMatrix(matrix), data,
         padded(matrix.columns));
  return {data, padded(matrix.columns)};
}

std::span<std::byte> Products::weight_memory(ConstMatrixView weight) const {
  return weights_memory_.first(std::min(weights_memory_.size(), narrowed_bytes(weight.rows, weight.columns)));
}

// out = or += left . right over `inner`. cuBLAS thinks in columns: it is asked for out^T = right^T . left^T.
void Products::multiply(const Operand& left, const Operand& right, std::size_t inner, MatrixView out,
                        Into into) {
  if (out.empty()) return;
  const float one = 1;
  const float keep = into == Into::add ? 1.0F : 0.0F;
  const auto as_int = [](std::size_t value) { return static_cast<int>(value); };
  check(api_.gemm(handle_, right.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                  left.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, as_int(out.columns), as_int(out.rows),
                  as_int(inner), &one, right.data, right.type, as_int(right.stride), left.data, left.type,
                  as_int(left.stride), &keep, out.data, CUDA_R_32F, as_int(out.stride),
                  precision_ == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                  CUBLAS_GEMM_DEFAULT),
        "multiplying matrices");
}

void Products::linear(ConstMatrixView x, ConstMatrixView weight, MatrixView out, Into into) {
  GNEISS_ASSERT(x.columns == weight.columns && out.rows == x.rows && out.columns == weight.rows);
  if (!narrows(x)) {
    return multiply({x.data, CUDA_R_32F, x.stride, false}, {weight.data, CUDA_R_32F, weight.stride, true},
                    x.columns, out, into);
  }
  const Narrowed narrow_weight = narrow(weight, weight_memory(weight));
  const std::size_t step = rows_at_once(padded(x.columns));
  for (std::size_t first = 0; first < x.rows; first += step) {
    const std::size_t count = std::min(step, x.rows - first);
    const Narrowed rows = narrow(x.row_range(first, count), rows_memory_);
    multiply({rows.data, CUDA_R_16BF, rows.stride, false},
             {narrow_weight.data, CUDA_R_16BF, narrow_weight.stride, true}, x.columns,
             out.row_range(first, count), into);
  }
}

void Products::input_gradient(ConstMatrixView dz, ConstMatrixView weight, MatrixView dx) {
  GNEISS_ASSERT(dz.columns == weight.rows && dx.rows == dz.rows && dx.columns == weight.columns);
  if (!narrows(dz)) {
    return multiply({dz.data, CUDA_R_32F, dz.stride, false}, {weight.data, CUDA_R_32F, weight.stride, false},
                    dz.columns, dx, Into::set);
  }
  const Narrowed narrow_weight = narrow(weight, weight_memory(weight));
  const std::size_t step = rows_at_once(padded(dz.columns));
  for (std::size_t first = 0; first < dz.rows; first += step) {
    const std::size_t count = std::min(step, dz.rows - first);
    const Narrowed rows = narrow(dz.row_range(first, count), rows_memory_);
    multiply({rows.data, CUDA_R_16BF, rows.stride, false},
             {narrow_weight.data, CUDA_R_16BF, narrow_weight.stride, false}, dz.columns,
             dx.row_range(first, count), Into::set);
  }
}

void Products::outer(ConstMatrixView x, ConstMatrixView dz, MatrixView out, Into into) {
  GNEISS_ASSERT(x.rows == dz.rows && out.rows == dz.columns && out.columns == x.columns);
  if (!narrows(x)) {
    return multiply({dz.data, CUDA_R_32F, dz.stride, true}, {x.data, CUDA_R_32F, x.stride, false}, x.rows,
                    out, into);
  }
  // Pieces are added in their order, and there are few: a sum's shape is that of its rows.
  const std::size_t columns = padded(x.columns) + padded(dz.columns);
  const std::size_t step = rows_at_once(columns);
  for (std::size_t first = 0; first < x.rows; first += step) {
    const std::size_t count = std::min(step, x.rows - first);
    const std::size_t left_bytes = narrowed_bytes(count, dz.columns);
    const Narrowed left = narrow(dz.row_range(first, count), rows_memory_.first(left_bytes));
    const Narrowed right = narrow(x.row_range(first, count), rows_memory_.subspan(left_bytes));
    multiply({left.data, CUDA_R_16BF, left.stride, true}, {right.data, CUDA_R_16BF, right.stride, false},
             count, out, first == 0 ? into : Into::add);
  }
}

}  // namespace gneiss::cuda
