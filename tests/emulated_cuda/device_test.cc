// The device, its memory, and faults.
#include "engine/compute/cuda/device.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/emulated_cuda/device_buffer.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/emulated_cuda/sample_kernels.h"
#include "tests/support/in_child.h"

namespace gneiss::emulated_cuda {
namespace {

TEST_CASE("the engine's probe finds the emulated device, and says when there is none") {
  reset();
  const DeviceProbe probe = probe_cuda_device();
  CHECK(probe.usable);
  CHECK(probe.name == "Emulated CUDA device");
  CHECK(probe.capability == 90);
  CHECK(probe.memory_bytes == 256u << 20);
  CHECK(choose_device("auto").type == Device::Type::cuda);
  CHECK(launches_of("empty_kernel") == 2);

  set_device_count(0);
  CHECK(probe_cuda_device().reason == "no CUDA device is visible");
  CHECK(choose_device("auto").type == Device::Type::cpu);

  set_device_count(1);
  fail_call("cudaLaunchKernelEx", 1, cudaErrorNoKernelImageForDevice);
  CHECK(probe_cuda_device().reason == "this program was not built for this kind of CUDA device");
  fail_call("cudaDeviceSynchronize", 1, cudaErrorLaunchFailure);
  CHECK(probe_cuda_device().reason == "the CUDA device does not answer (unspecified launch failure)");
}

TEST_CASE("fresh memory reads as NaN, in every format") {
  reset();
  DeviceBuffer<float> buffer(100);
  for (const float value : buffer.read()) CHECK(std::isnan(value));
  PinnedBuffer<float> pinned(1);
  CHECK(std::isnan(pinned[0]));
}

TEST_CASE("the device can be full") {
  reset();
  set_device_memory(1 << 20);
  std::size_t free_bytes = 0, total_bytes = 0;
  CUDA_OK(cudaMemGetInfo(&free_bytes, &total_bytes));
  CHECK(total_bytes == 1 << 20);
  DeviceBuffer<char> most(1000 << 10);
  char* more = nullptr;
  CHECK(cudaMalloc(&more, 100 << 10) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(more == nullptr);
  CUDA_OK(cudaMemGetInfo(&free_bytes, &total_bytes));
  CHECK(free_bytes == 24 << 10);
  DeviceBuffer<char> rest(24 << 10);
  CHECK(counters().live_allocations == 2);
  CHECK(counters().device_bytes_max == 1 << 20);
  CHECK(reinterpret_cast<std::uintptr_t>(rest.get()) % 256 == 0);
}

TEST_CASE("a host that dereferences a device pointer crashes") {
  reset();
  DeviceBuffer<float> buffer(std::vector<float>{42});
  const int code =
      test::run_in_child([&] { return static_cast<int>(*static_cast<volatile float*>(buffer.get())); });
  CHECK(code != 0);
  CHECK(code != 42);
}

TEST_CASE("copies outside of an allocation are refused") {
  reset();
  DeviceBuffer<float> buffer(10);
  float host[11] = {};
  CHECK(cudaMemcpy(buffer.get(), host, 44, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, host, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(buffer.get() + 10, 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaFree(buffer.get() + 1) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("rows are copied with their pitches") {
  reset();
  const std::vector<float> source = {1, 2, 3, 4, 5, 6};
  DeviceBuffer<float> target(8);
  CUDA_OK(cudaMemset(target.get(), 0, target.bytes()));
  CUDA_OK(cudaMemcpy2DAsync(target.get(), 16, source.data(), 12, 8, 2, cudaMemcpyHostToDevice));
  CHECK(target.read() == std::vector<float>{1, 2, 0, 0, 4, 5, 0, 0});
}

TEST_CASE("pinned memory is known by its range") {
  reset();
  std::vector<char> host(1000);
  CUDA_OK(cudaHostRegister(host.data() + 100, 500, cudaHostRegisterDefault));
  CHECK(cudaHostRegister(host.data() + 599, 10, 0) == cudaErrorHostMemoryAlreadyRegistered);
  cudaPointerAttributes attributes{};
  CUDA_OK(cudaPointerGetAttributes(&attributes, host.data() + 100));
  CHECK(attributes.type == cudaMemoryTypeHost);
  CUDA_OK(cudaPointerGetAttributes(&attributes, host.data() + 600));
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  DeviceBuffer<char> device(1);
  CUDA_OK(cudaPointerGetAttributes(&attributes, device.get()));
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CUDA_OK(cudaHostUnregister(host.data() + 100));
  CHECK(cudaHostUnregister(host.data() + 100) == cudaErrorHostMemoryNotRegistered);
  cudaGetLastError();
}

TEST_CASE("the nth call fails as a test wants it, and only that") {
  reset();
  fail_call("cudaMalloc", 2, cudaErrorMemoryAllocation);
  fail_call("cudaMemcpyAsync", 1, cudaErrorIllegalAddress);
  CHECK(pending_faults() == 2);
  float* first = nullptr;
  float* second = nullptr;
  CHECK(cudaMalloc(&first, 4) == cudaSuccess);
  CHECK(cudaMalloc(&second, 4) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&second, 4) == cudaSuccess);
  CHECK(cudaMemcpyAsync(first, second, 4, cudaMemcpyDeviceToDevice) == cudaErrorIllegalAddress);
  CHECK(pending_operations() == 0);
  CHECK(pending_faults() == 0);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorIllegalAddress");
  CUDA_OK(cudaFree(first));
  CUDA_OK(cudaFree(second));
}

}  // namespace
}  // namespace gneiss::emulated_cuda
