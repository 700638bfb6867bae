// The device, its properties and errors, and launches.
#include <fmt/format.h>

#include <cstring>

#include "tests/emulated_cuda/block_runner.h"
#include "tests/emulated_cuda/die.h"
#include "tests/emulated_cuda/emulator.h"
#include "tests/emulated_cuda/kernel_name.h"

namespace gneiss::emulated_cuda {
namespace {

constexpr int cuda_version = 13000;

// What CUDA refuses; here a mistake ends the program, for no shape that depends on data may come to this.
void check_shape(const std::string& kernel, const cudaLaunchConfig_t& config) {
  const dim3& grid = config.gridDim;
  const dim3& block = config.blockDim;
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) {
    die(fmt::format("kernel {}: a block of ({}, {}, {}) threads; 1 to 1024 are possible", kernel, block.x,
                    block.y, block.z));
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    die(fmt::format("kernel {}: a grid of ({}, {}, {}) blocks; 1 to (2^31 - 1, 65535, 65535) are possible",
                    kernel, grid.x, grid.y, grid.z));
  }
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* function, std::function<void()> thread) {
  Call call("cudaLaunchKernelEx");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (function == nullptr) return Call::result(cudaErrorInvalidDeviceFunction);
  if (config.dynamicSmemBytes != 0 || config.numAttrs != 0) return Call::result(cudaErrorNotSupported);
  const auto stream = call->find_stream(config.stream);
  if (stream == nullptr) return Call::result(cudaErrorInvalidResourceHandle);
  static std::map<const void*, std::string> names;
  std::string& name = names[function];
  if (name.empty()) name = kernel_name(function);
  check_shape(name, config);
  ++call->counters.kernel_launches;
  ++call->launches[bare_name(name)];
  const auto run = [name, grid = config.gridDim, block = config.blockDim, thread = std::move(thread)] {
    Scheduler& scheduler = emulator().scheduler;
    run_grid({.kernel = name,
              .grid_size = grid,
              .block_size = block,
              .thread = &thread,
              .last_block_first = scheduler.flip(),
              .last_thread_first = scheduler.flip()});
  };
  call->scheduler.enqueue(stream, {.run = run, .waits = {}, .microseconds = 5}, call.lock());
  return cudaSuccess;
}

}  // namespace gneiss::emulated_cuda

using namespace gneiss::emulated_cuda;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  Call call("cudaGetDeviceCount", Call::Needs::nothing);
  if (count == nullptr) return Call::result(cudaErrorInvalidValue);
  *count = call->device_count;
  if (call.error() != cudaSuccess) return Call::result(call.error());
  return call->device_count == 0 ? Call::result(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  const Call call("cudaGetDevice");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (device == nullptr) return Call::result(cudaErrorInvalidValue);
  *device = 0;
  return cudaSuccess;
}

// Devices beyond the first are only counted.
cudaError_t cudaSetDevice(int device) {
  const Call call("cudaSetDevice");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  return Call::result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Call call("cudaGetDeviceProperties");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (properties == nullptr) return Call::result(cudaErrorInvalidValue);
  if (device != 0) return Call::result(cudaErrorInvalidDevice);
  cudaDeviceProp answer{};
  std::strncpy(answer.name, "Emulated CUDA device", sizeof(answer.name) - 1);
  answer.totalGlobalMem = call->device.capacity();
  answer.sharedMemPerBlock = 48 << 10;
  answer.regsPerBlock = 65536;
  answer.warpSize = 32;
  answer.maxThreadsPerBlock = 1024;
  answer.maxThreadsDim[0] = answer.maxThreadsDim[1] = 1024;
  answer.maxThreadsDim[2] = 64;
  answer.maxGridSize[0] = 0x7fffffff;
  answer.maxGridSize[1] = answer.maxGridSize[2] = 65535;
  answer.major = 9;
  // Few, so that loops over grids take more than one turn in small tests.
  answer.multiProcessorCount = 4;
  answer.canMapHostMemory = 1;
  answer.concurrentKernels = 1;
  answer.asyncEngineCount = 2;
  answer.unifiedAddressing = 1;
  answer.memoryBusWidth = 512;
  answer.l2CacheSize = 1 << 20;
  answer.maxThreadsPerMultiProcessor = 2048;
  answer.canUseHostPointerForRegisteredMem = 1;
  answer.hostRegisterSupported = 1;
  *properties = answer;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties{};
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  if (value == nullptr) return Call::result(cudaErrorInvalidValue);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxBlockDimZ:
      *value = properties.maxThreadsDim[2];
      break;
    case cudaDevAttrMaxGridDimX:
      *value = properties.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = properties.maxGridSize[1];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrAsyncEngineCount:
      *value = properties.asyncEngineCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanUseHostPointerForRegisteredMem:
    case cudaDevAttrHostRegisterSupported:
      *value = 1;
      break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrPageableMemoryAccess:
      *value = 0;
      break;
    default:
      return Call::result(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const Call call("cudaDriverGetVersion", Call::Needs::nothing);
  if (call.error() != cudaSuccess) return Call::result(call.error());
  *version = cuda_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = cuda_version;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Call call("cudaDeviceSynchronize");
  if (call.error() == cudaErrorNoDevice || call.error() == cudaErrorNotPermitted)
    return Call::result(call.error());
  ++call->counters.synchronizations;
  call->scheduler.wait_all(call.lock());
  call->device.check_guards();
  return Call::result(call.error());
}

cudaError_t cudaDeviceReset() {
  Call call("cudaDeviceReset");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  call->scheduler.wait_all(call.lock());
  call->device.check_guards();
  call->device.free_all();
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error();
  last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error(); }

}  // extern "C"
