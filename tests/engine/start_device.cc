#include <cuda_runtime.h>  // which says whether it is the emulated one

#include "tests/engine/device_run.h"
#ifdef GNEISS_EMULATED_CUDA
#include "tests/emulated_cuda/emulated_cuda.h"
#endif

namespace gneiss::test {

void start_device([[maybe_unused]] std::uint64_t seed) {
#ifdef GNEISS_EMULATED_CUDA
  emulated_cuda::reset();
  emulated_cuda::set_device_memory(512ULL << 20);
  emulated_cuda::set_seed(seed);
#endif
}

}  // namespace gneiss::test
