#include "engine/compute/cuda/device.h"

#include "storage/base/error.h"

namespace gneiss {

Device choose_device(std::string_view name, const DeviceProbe& probe) {
  if (name == "cpu") return {Device::Type::cpu, 0};
  if (name == "auto" && !probe.usable) return {Device::Type::cpu, 0};
  if (name != "auto" && name != "cuda") fail(Kind::config, "--device is '{}'; use auto, cpu or cuda", name);
  if (!probe.usable)
    fail(Kind::config, "--device cuda cannot be used: {}; use --device cpu or auto", probe.reason);
  return {Device::Type::cuda, probe.index};
}

Device choose_device(std::string_view name) {
  // Only those who may get a device wait for a context.
  return choose_device(name, name == "auto" || name == "cuda" ? probe_cuda_device() : DeviceProbe{});
}

}  // namespace gneiss
