#include <cuda_runtime.h>

#include <memory>

#include "engine/compute/cuda/cuda_backend.h"
#include "tests/engine/mirrored_backend.h"
#include "tests/engine/test_backend.h"
#ifdef GNEISS_EMULATED_CUDA
#include "tests/emulated_cuda/emulated_cuda.h"
#endif

namespace gneiss::test {
namespace {

// Of weights, the largest that tests multiply with.
constexpr std::size_t columns_max = 2048;

#ifdef GNEISS_EMULATED_CUDA
// For a backend of each precision, one more, and what is mirrored.
constexpr std::size_t device_bytes = 512ULL << 20;

void start_device() {
  static std::uint64_t seed = [] {
    emulated_cuda::reset();
    emulated_cuda::set_device_memory(device_bytes);
    return 0;
  }();
  emulated_cuda::set_seed(++seed);
}
#else
void start_device() {}
#endif

std::shared_ptr<CudaBackend> make_device(Precision precision) {
  std::shared_ptr<CudaBackend> device = make_cuda_backend(0, precision);
  // Buffers are the mirror's: of its own the device keeps what its operators need.
  device->reserve(0, device->working_bytes(columns_max, columns_max));
  return device;
}

// Most cases share one, for making it takes longer than most of them. It is never ended: at exit the driver
// may be gone.
std::shared_ptr<CudaBackend> device_of(Precision precision) {
  if (precision != Precision::f32) return make_device(precision);
  static const auto& shared = *new std::shared_ptr<CudaBackend>(make_device(precision));
  return shared;
}

}  // namespace

BackendKind backend_kind() noexcept {
#ifdef GNEISS_EMULATED_CUDA
  return BackendKind::emulated_cuda;
#else
  return BackendKind::cuda;
#endif
}

std::unique_ptr<Backend> make_backend(ThreadPool& /*pool*/, Precision precision) {
  start_device();
  return make_mirrored_backend(device_of(precision));
}

const char* lacking_precision(Precision /*precision*/) { return nullptr; }

}  // namespace gneiss::test
