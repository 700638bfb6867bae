#include <dlfcn.h>

#include <string>

#include "engine/compute/cuda/cublas_api.h"
#include "storage/base/error.h"

namespace gneiss::cuda {
namespace {

void* open_library() {
  const std::string name = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  // Where the system looks, else where it was when this was built.
  for (const std::string& path : {name, std::string(GNEISS_CUBLAS_FOLDER "/") + name}) {
    if (void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  fail(Kind::config,
       "{} is not found, which --device cuda needs; install CUDA's libraries, or use --device cpu", name);
}

template <class Function>
Function find(void* library, const char* name) {
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) {
    fail(Kind::config, "cuBLAS has no {}, which --device cuda needs; use CUDA {} or newer, or --device cpu",
         name, CUBLAS_VER_MAJOR);
  }
  return reinterpret_cast<Function>(symbol);
}

CublasApi load() {
  void* const library = open_library();
  return {.create = find<decltype(CublasApi::create)>(library, "cublasCreate_v2"),
          .destroy = find<decltype(CublasApi::destroy)>(library, "cublasDestroy_v2"),
          .set_stream = find<decltype(CublasApi::set_stream)>(library, "cublasSetStream_v2"),
          .set_workspace = find<decltype(CublasApi::set_workspace)>(library, "cublasSetWorkspace_v2"),
          .gemm = find<decltype(CublasApi::gemm)>(library, "cublasGemmEx")};
}

}  // namespace

const CublasApi& cublas_api() {
  static const CublasApi api = load();
  return api;
}

}  // namespace gneiss::cuda
