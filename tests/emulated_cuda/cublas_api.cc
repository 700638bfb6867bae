// cuBLAS's functions: they check their arguments as cuBLAS does and queue the product.
#include <cublas_v2.h>
#include <fmt/format.h>

#include <algorithm>

#include "tests/emulated_cuda/die.h"
#include "tests/emulated_cuda/emulator.h"
#include "tests/emulated_cuda/gemm.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace gneiss::emulated_cuda {
namespace {

struct Product {
  cublasOperation_t a_operation, b_operation;
  int m, n, k;
  const void* alpha;
  const void* a;
  cudaDataType a_type;
  int a_leading;
  long long a_stride;
  const void* b;
  cudaDataType b_type;
  int b_leading;
  long long b_stride;
  const void* beta;
  void* c;
  cudaDataType c_type;
  int c_leading;
  long long c_stride;
  int count;
  cublasComputeType_t compute;
};

bool is_supported(const Product& p) {
  const bool is_wide = p.a_type == CUDA_R_32F && p.c_type == CUDA_R_32F;
  const bool is_narrow =
      (p.a_type == CUDA_R_16F || p.a_type == CUDA_R_16BF) && (p.c_type == p.a_type || p.c_type == CUDA_R_32F);
  if (p.a_type != p.b_type) return false;
  switch (p.compute) {
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      return is_wide || is_narrow;
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return is_wide;
    default:
      return false;
  }
}

bool is_operation(cublasOperation_t operation) {
  return operation >= CUBLAS_OP_N && operation <= CUBLAS_OP_C;
}

// The bytes from the first element of `columns` columns to the last.
std::size_t extent(int rows, int columns, int leading, cudaDataType type) {
  if (rows == 0 || columns == 0) return 0;
  return (static_cast<std::size_t>(columns - 1) * leading + rows) * bytes_of(type);
}

void check_place(const char* name, const void* data, std::size_t bytes) {
  const Emulator& state = emulator();
  if (bytes == 0 || state.device.holds(data, bytes) || state.pinned.holds(data, bytes)) return;
  die(fmt::format("a product whose {} of {} bytes at {} is not in one allocation of the device", name, bytes,
                  data));
}

cublasStatus_t enqueue(const char* name, cublasHandle_t handle, const Product& p) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  Call call(name);
  if (call.error() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (p.m < 0 || p.n < 0 || p.k < 0 || p.count < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_operation(p.a_operation) || !is_operation(p.b_operation)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool a_turned = p.a_operation != CUBLAS_OP_N, b_turned = p.b_operation != CUBLAS_OP_N;
  const int a_rows = a_turned ? p.k : p.m, a_columns = a_turned ? p.m : p.k;
  const int b_rows = b_turned ? p.n : p.k, b_columns = b_turned ? p.k : p.n;
  if (p.a_leading < std::max(1, a_rows) || p.b_leading < std::max(1, b_rows) ||
      p.c_leading < std::max(1, p.m)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (p.alpha == nullptr || p.beta == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_supported(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.m == 0 || p.n == 0 || p.count == 0) return CUBLAS_STATUS_SUCCESS;
  const auto stream = call->find_stream(handle->stream);
  if (stream == nullptr) return CUBLAS_STATUS_EXECUTION_FAILED;

  const float alpha = *static_cast<const float*>(p.alpha), beta = *static_cast<const float*>(p.beta);
  const bool rounds = p.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ||
                      (p.compute == CUBLAS_COMPUTE_32F && handle->math == CUBLAS_TF32_TENSOR_OP_MATH);
  const auto run = [=] {
    for (long long i = 0; i < p.count; ++i) {
      const auto at = [i](auto* data, long long stride, cudaDataType type) {
        using Bytes =
            std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(data)>>, const char, char>;
        return static_cast<Bytes*>(data) + i * stride * static_cast<long long>(bytes_of(type));
      };
      const Gemm gemm{
          .m = static_cast<std::size_t>(p.m),
          .n = static_cast<std::size_t>(p.n),
          .k = static_cast<std::size_t>(p.k),
          .alpha = alpha,
          .a = {at(p.a, p.a_stride, p.a_type), p.a_type, static_cast<std::size_t>(p.a_leading), a_turned},
          .b = {at(p.b, p.b_stride, p.b_type), p.b_type, static_cast<std::size_t>(p.b_leading), b_turned},
          .beta = beta,
          .c = at(p.c, p.c_stride, p.c_type),
          .c_type = p.c_type,
          .c_leading = static_cast<std::size_t>(p.c_leading),
          .rounds_to_tf32 = rounds && p.a_type == CUDA_R_32F};
      if (alpha != 0) {
        check_place("A", gemm.a.data, extent(a_rows, a_columns, p.a_leading, p.a_type));
        check_place("B", gemm.b.data, extent(b_rows, b_columns, p.b_leading, p.b_type));
      }
      check_place("C", gemm.c, extent(p.m, p.n, p.c_leading, p.c_type));
      multiply(gemm);
    }
  };
  ++call->counters.products;
  call->scheduler.enqueue(stream, {.run = run, .waits = {}, .microseconds = 10}, call.lock());
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace
}  // namespace gneiss::emulated_cuda

using namespace gneiss::emulated_cuda;

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  const Call call("cublasCreate");
  if (call.error() == cudaErrorMemoryAllocation) return CUBLAS_STATUS_ALLOC_FAILED;
  if (call.error() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int* version) {
  *version = 130000;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}

// The products here need none; cuBLAS wants it aligned to 256 bytes.
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(workspace) % 256 == 0;
  return is_aligned ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetPointerMode_v2(cublasHandle_t handle, cublasPointerMode_t mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  *mode = handle->math;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetAtomicsMode(cublasHandle_t handle, cublasAtomicsMode_t) {
  return handle == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "an unknown cuBLAS status";
  }
}

const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an invalid value was given";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality is not supported";
    default:
      return "unknown";
  }
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                              int m, int n, int k, const float* alpha, const float* A, int lda,
                              const float* B, int ldb, const float* beta, float* C, int ldc) {
  return enqueue("cublasSgemm", handle,
                 {transa, transb, m, n,          k,   alpha, A, CUDA_R_32F,        lda, 0, B, CUDA_R_32F, ldb,
                  0,      beta,   C, CUDA_R_32F, ldc, 0,     1, CUBLAS_COMPUTE_32F});
}

// y is one column, or one row where its elements lie apart.
cublasStatus_t cublasSgemv_v2(cublasHandle_t handle, cublasOperation_t trans, int m, int n,
                              const float* alpha, const float* A, int lda, const float* x, int incx,
                              const float* beta, float* y, int incy) {
  if (incx <= 0 || incy <= 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (m < 0 || n < 0 || lda < std::max(1, m)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool turned = trans != CUBLAS_OP_N;
  const int rows = turned ? n : m, terms = turned ? m : n;
  // As y^T = x^T op(A)^T: a product whose one row has the stride of y.
  return enqueue("cublasSgemv", handle,
                 {CUBLAS_OP_N,
                  turned ? CUBLAS_OP_N : CUBLAS_OP_T,
                  1,
                  rows,
                  terms,
                  alpha,
                  x,
                  CUDA_R_32F,
                  incx,
                  0,
                  A,
                  CUDA_R_32F,
                  lda,
                  0,
                  beta,
                  y,
                  CUDA_R_32F,
                  incy,
                  0,
                  1,
                  CUBLAS_COMPUTE_32F});
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                            int n, int k, const void* alpha, const void* A, cudaDataType Atype, int lda,
                            const void* B, cudaDataType Btype, int ldb, const void* beta, void* C,
                            cudaDataType Ctype, int ldc, cublasComputeType_t computeType, cublasGemmAlgo_t) {
  return enqueue("cublasGemmEx", handle, {transa, transb, m, n,    k, alpha, A,   Atype, lda, 0,          B,
                                          Btype,  ldb,    0, beta, C, Ctype, ldc, 0,     1,   computeType});
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                          cublasOperation_t transb, int m, int n, int k, const void* alpha,
                                          const void* A, cudaDataType Atype, int lda, long long int strideA,
                                          const void* B, cudaDataType Btype, int ldb, long long int strideB,
                                          const void* beta, void* C, cudaDataType Ctype, int ldc,
                                          long long int strideC, int batchCount,
                                          cublasComputeType_t computeType, cublasGemmAlgo_t) {
  return enqueue("cublasGemmStridedBatchedEx", handle,
                 {transa, transb, m,       n,    k, alpha, A,   Atype,   lda,        strideA,    B,
                  Btype,  ldb,    strideB, beta, C, Ctype, ldc, strideC, batchCount, computeType});
}

}  // extern "C"
