#include <cstdint>

#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss::cuda {

[[noreturn]] void fail_device(const char* attempt, const char* reason) {
  fail(Kind::io, "the CUDA device failed while {}: {}", attempt, reason);
}

[[noreturn]] void fail_cublas(const char* attempt, int status) {
  fail(Kind::io, "cuBLAS failed while {} (status {})", attempt, status);
}

[[noreturn]] void fail_memory(std::uint64_t bytes) {
  fail(Kind::config,
       "the CUDA device no longer has {} of memory; end what else runs on it, give less by --device-memory, "
       "or "
       "use --device cpu",
       format_bytes(static_cast<double>(bytes)));
}

}  // namespace gneiss::cuda
