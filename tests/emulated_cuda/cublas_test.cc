// Products against a loop over their definition.
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>

#include "tests/emulated_cuda/device_buffer.h"
#include "tests/emulated_cuda/emulated_cuda.h"

namespace gneiss::emulated_cuda {
namespace {

struct Handle {
  cublasHandle_t get = nullptr;
  Handle() { REQUIRE(cublasCreate(&get) == CUBLAS_STATUS_SUCCESS); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { cublasDestroy(get); }
};

std::vector<float> quarters(std::size_t count, int step) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(static_cast<int>(i) * step % 17 - 8) / 4;
  return values;
}

TEST_CASE("a product is right for all transpositions, leading dimensions and betas") {
  constexpr int m = 5, n = 4, k = 3, lead = 7;
  for (const auto ta : {CUBLAS_OP_N, CUBLAS_OP_T}) {
    for (const auto tb : {CUBLAS_OP_N, CUBLAS_OP_T}) {
      for (const float beta : {0.0f, 0.5f}) {
        reset();
        const auto a = quarters(lead * 7, 5), b = quarters(lead * 7, 3), c = quarters(lead * n, 7);
        DeviceBuffer<float> device_a(a), device_b(b), device_c(c);
        Handle handle;
        const float alpha = 2;
        REQUIRE(cublasSgemm(handle.get, ta, tb, m, n, k, &alpha, device_a.get(), lead, device_b.get(), lead,
                            &beta, device_c.get(), lead) == CUBLAS_STATUS_SUCCESS);
        auto expected = c;
        for (int j = 0; j < n; ++j) {
          for (int i = 0; i < m; ++i) {
            float sum = 0;
            for (int l = 0; l < k; ++l) {
              sum += (ta == CUBLAS_OP_N ? a[l * lead + i] : a[i * lead + l]) *
                     (tb == CUBLAS_OP_N ? b[j * lead + l] : b[l * lead + j]);
            }
            expected[j * lead + i] = alpha * sum + beta * c[j * lead + i];
          }
        }
        CHECK(device_c.read() == expected);
      }
    }
  }
}

TEST_CASE("with beta 0 a product does not read what it writes over") {
  reset();
  DeviceBuffer<float> a(std::vector<float>{2}), c(1);
  Handle handle;
  const float one = 1, zero = 0;
  REQUIRE(cublasSgemm(handle.get, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.get(), 1, a.get(), 1, &zero,
                      c.get(), 1) == CUBLAS_STATUS_SUCCESS);
  CHECK(c.read()[0] == 4);
}

TEST_CASE("bf16 operands give float and bf16; TF32 rounds to ten bits") {
  reset();
  DeviceBuffer<__nv_bfloat16> a(std::vector<__nv_bfloat16>{1.0f, 3.0f}), narrow(1);
  DeviceBuffer<float> wide(1), fine(std::vector<float>{1 + 0x1p-10f + 0x1p-12f});
  Handle handle;
  const float one = 1, zero = 0, third = 1.0f / 3;
  const auto bf16_product = [&](const float* alpha, void* c, cudaDataType type) {
    return cublasGemmEx(handle.get, CUBLAS_OP_T, CUBLAS_OP_N, 1, 1, 2, alpha, a.get(), CUDA_R_16BF, 2,
                        a.get(), CUDA_R_16BF, 2, &zero, c, type, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  };
  REQUIRE(bf16_product(&one, wide.get(), CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(wide.read()[0] == 10);
  REQUIRE(bf16_product(&third, narrow.get(), CUDA_R_16BF) == CUBLAS_STATUS_SUCCESS);
  CHECK(float(narrow.read()[0]) == 3.328125f);
  REQUIRE(cublasGemmEx(handle.get, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, fine.get(), CUDA_R_32F, 1,
                       fine.get(), CUDA_R_32F, 1, &zero, wide.get(), CUDA_R_32F, 1,
                       CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  CHECK(wide.read()[0] == (1 + 0x1p-10f) * (1 + 0x1p-10f));
  CHECK(cublasGemmEx(handle.get, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.get(), CUDA_R_16BF, 1, fine.get(),
                     CUDA_R_32F, 1, &zero, wide.get(), CUDA_R_32F, 1, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_CASE("a batch of products, and a matrix times a vector") {
  reset();
  DeviceBuffer<float> a(std::vector<float>{1, 2, 3, 4}), c(4), y(4);
  Handle handle;
  const float one = 1, zero = 0;
  REQUIRE(cublasGemmStridedBatchedEx(handle.get, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.get(), CUDA_R_32F,
                                     1, 1, a.get(), CUDA_R_32F, 1, 0, &zero, c.get(), CUDA_R_32F, 1, 1, 4,
                                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  CHECK(c.read() == std::vector<float>{1, 2, 3, 4});
  CUDA_OK(cudaMemset(y.get(), 0, y.bytes()));
  REQUIRE(cublasSgemv(handle.get, CUBLAS_OP_N, 2, 2, &one, a.get(), 2, a.get(), 1, &zero, y.get(), 2) ==
          CUBLAS_STATUS_SUCCESS);
  CHECK(y.read() == std::vector<float>{7, 0, 10, 0});
  REQUIRE(cublasSgemv(handle.get, CUBLAS_OP_T, 2, 2, &one, a.get(), 2, a.get(), 1, &zero, y.get(), 2) ==
          CUBLAS_STATUS_SUCCESS);
  CHECK(y.read() == std::vector<float>{5, 0, 11, 0});
}

TEST_CASE("leading dimensions that are too small are refused, and a product runs on its handle's stream") {
  reset();
  set_schedule(Schedule::late);
  DeviceBuffer<float> a(quarters(100, 3)), c(100);
  Handle handle;
  Stream stream;
  const float one = 1, zero = 0;
  REQUIRE(cublasSetStream(handle.get, stream.handle) == CUBLAS_STATUS_SUCCESS);
  const auto multiply = [&](int lda, int ldb, int ldc) {
    return cublasSgemm(handle.get, CUBLAS_OP_T, CUBLAS_OP_N, 4, 5, 6, &one, a.get(), lda, a.get(), ldb, &zero,
                       c.get(), ldc);
  };
  CHECK(multiply(5, 6, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(6, 5, 4) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(6, 6, 3) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(6, 6, 4) == CUBLAS_STATUS_SUCCESS);
  CHECK(pending_operations() == 1);
  fail_call("cublasSgemm", 1, cudaErrorLaunchFailure);
  CHECK(multiply(6, 6, 4) == CUBLAS_STATUS_EXECUTION_FAILED);
  CUDA_OK(cudaStreamSynchronize(stream.handle));
  CHECK(counters().products == 1);
}

}  // namespace
}  // namespace gneiss::emulated_cuda
