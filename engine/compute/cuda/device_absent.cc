// The answer of a build without CUDA.
#include "engine/compute/cuda/device.h"

namespace gneiss {

DeviceProbe probe_cuda_device() {
  DeviceProbe probe;
  probe.reason = "this program was built without CUDA";
  return probe;
}

}  // namespace gneiss
