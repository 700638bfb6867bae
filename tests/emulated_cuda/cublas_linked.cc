// cuBLAS for tests: the emulated functions, in place of those that a program finds when it runs.
#include "engine/compute/cuda/cublas_api.h"

namespace gneiss::cuda {

const CublasApi& cublas_api() {
  static const CublasApi api{.create = cublasCreate_v2,
                             .destroy = cublasDestroy_v2,
                             .set_stream = cublasSetStream_v2,
                             .set_workspace = cublasSetWorkspace_v2,
                             .gemm = cublasGemmEx};
  return api;
}

}  // namespace gneiss::cuda
