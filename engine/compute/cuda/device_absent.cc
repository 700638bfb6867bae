// The answer of a build without CUDA.
#include "engine/compute/cuda/bus_profile.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "engine/compute/cuda/device.h"
#include "storage/base/error.h"

namespace gneiss {

std::string missing_cuda_driver() { return "this program was built without CUDA"; }

DeviceProbe probe_cuda_device() {
  DeviceProbe probe;
  probe.reason = missing_cuda_driver();
  return probe;
}

std::unique_ptr<CudaBackend> make_cuda_backend(std::int32_t /*device_index*/, Precision /*precision*/) {
  fail(Kind::config, "--device cuda: this program was built without CUDA; use --device cpu");
}

BusProfile measure_bus(std::uint64_t /*row_bytes*/) {
  fail(Kind::config, "--device cuda: this program was built without CUDA; use --device cpu");
}

}  // namespace gneiss
