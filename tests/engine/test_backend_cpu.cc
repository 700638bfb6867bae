#include "engine/compute/cpu/bf16_kernels.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "tests/engine/test_backend.h"

namespace gneiss::test {

BackendKind backend_kind() noexcept { return BackendKind::cpu; }

std::unique_ptr<Backend> make_backend(ThreadPool& pool, Precision precision) {
  return make_cpu_backend(pool, precision);
}

const char* lacking_precision(Precision precision) {
  if (precision == Precision::tf32) return "processors have no tf32";
  if (precision == Precision::bf16 && !cpu::has_bf16_products()) return "this processor has no AVX512_BF16";
  return nullptr;
}

}  // namespace gneiss::test
