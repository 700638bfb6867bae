// The functions of cuBLAS that products need, found when a device is used.
//
// Why:     a program linked with libcublas does not start where that library is not, not even to say so.
// Threads: any, once loaded.
#pragma once

#include <cublas_v2.h>

namespace gneiss::cuda {

struct CublasApi {
  decltype(&cublasCreate_v2) create;
  decltype(&cublasDestroy_v2) destroy;
  decltype(&cublasSetStream_v2) set_stream;
  decltype(&cublasSetWorkspace_v2) set_workspace;
  // Spelled out: in C++ the name is overloaded.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                         const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                         cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
};

// Throws Error(config) that says which library is missing, and what to do.
const CublasApi& cublas_api();

}  // namespace gneiss::cuda
