// What CUDA and cuBLAS answer becomes an Error(io) that says what was attempted.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace gneiss::cuda {

// Apart, for nvcc does not take fmt's compile-time checks. Throws Error(io).
[[noreturn]] void fail_device(const char* attempt, const char* reason);
[[noreturn]] void fail_cublas(const char* attempt, int status);

// Throws Error(config): somebody else has taken the device's memory meanwhile.
[[noreturn]] void fail_memory(std::uint64_t bytes);

// `attempt`: "copying to the device". A failure of an earlier kernel is told by whoever asks next.
inline void check(cudaError_t status, const char* attempt) {
  if (status != cudaSuccess) fail_device(attempt, cudaGetErrorString(status));
}
inline void check(cublasStatus_t status, const char* attempt) {
  if (status != CUBLAS_STATUS_SUCCESS) fail_cublas(attempt, static_cast<int>(status));
}

}  // namespace gneiss::cuda
