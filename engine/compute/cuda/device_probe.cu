// The answer of a build with CUDA.
#include <cuda_runtime.h>

#include "engine/compute/cuda/device.h"

namespace gneiss {
namespace {

__global__ void empty_kernel() {}

std::string reason_for(cudaError_t status) {
  int driver_version = 0;
  switch (status) {
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorStubLibrary:
      if (cudaDriverGetVersion(&driver_version) != cudaSuccess || driver_version == 0) {
        return "no CUDA driver is installed";
      }
      return "the CUDA driver is older than this program needs (it supports CUDA " +
             std::to_string(driver_version / 1000) + "." + std::to_string(driver_version % 1000 / 10) + ")";
    case cudaErrorNoDevice:
      return "no CUDA device is visible";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return "this program was not built for this kind of CUDA device";
    default:
      return std::string("the CUDA device does not answer (") + cudaGetErrorString(status) + ")";
  }
}

}  // namespace

std::string missing_cuda_driver() {
  int version = 0;
  const bool is_there = cudaDriverGetVersion(&version) == cudaSuccess && version > 0;
  return is_there ? "" : "no CUDA driver is installed";
}

DeviceProbe probe_cuda_device() {
  DeviceProbe probe;
  int count = 0;
  cudaDeviceProp properties{};
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, probe.index);
  if (status == cudaSuccess) status = cudaSetDevice(probe.index);
  if (status == cudaSuccess) {
    const cudaLaunchConfig_t one_thread{.gridDim = dim3(1),
                                        .blockDim = dim3(1),
                                        .dynamicSmemBytes = 0,
                                        .stream = nullptr,
                                        .attrs = nullptr,
                                        .numAttrs = 0};
    status = cudaLaunchKernelEx(&one_thread, empty_kernel);
  }
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  if (status != cudaSuccess) {
    probe.reason = reason_for(status);
    return probe;
  }
  probe.usable = true;
  probe.name = properties.name;
  probe.capability = properties.major * 10 + properties.minor;
  probe.memory_bytes = properties.totalGlobalMem;
  return probe;
}

}  // namespace gneiss
