#include "storage/base/error.h"

namespace gneiss::cuda {

[[noreturn]] void fail_device(const char* attempt, const char* reason) {
  fail(Kind::io, "the CUDA device failed while {}: {}", attempt, reason);
}

[[noreturn]] void fail_cublas(const char* attempt, int status) {
  fail(Kind::io, "cuBLAS failed while {} (status {})", attempt, status);
}

}  // namespace gneiss::cuda
