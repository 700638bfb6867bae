// cudaLaunchKernelEx: queues a kernel with its parameters, which are copied at the call.
#pragma once

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/emulated_cuda/include/cuda_runtime_api.h"

namespace gneiss::emulated_cuda {

// What runs one thread of the launch; `function` only names the kernel.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* function, std::function<void()> thread);

}  // namespace gneiss::emulated_cuda

// NOLINTBEGIN: the names are CUDA's.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  static_assert((!std::is_reference_v<Parameters> && ...), "a kernel takes its parameters by value");
  static_assert((std::is_trivially_copyable_v<Parameters> && ...),
                "a kernel's parameters are copied as bytes");
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "one argument for each parameter");
  if (config == nullptr) return cudaErrorInvalidConfiguration;
  std::tuple<std::remove_const_t<Parameters>...> copies(std::forward<Arguments>(arguments)...);
  return gneiss::emulated_cuda::launch(*config, reinterpret_cast<const void*>(kernel),
                                       [kernel, copies] { std::apply(kernel, copies); });
}

template <class Function>
cudaError_t cudaFuncSetAttribute(Function* function, cudaFuncAttribute attribute, int value) {
  if (function == nullptr) return cudaErrorInvalidDeviceFunction;
  // Static shared memory is all there is.
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value != 0) return cudaErrorNotSupported;
  return cudaSuccess;
}

template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** pointer, size_t bytes, unsigned int flags = 0) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), bytes, flags);
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned int flags) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), bytes, flags);
}
template <class T>
cudaError_t cudaHostGetDevicePointer(T** device_pointer, void* host_pointer, unsigned int flags) {
  return cudaHostGetDevicePointer(reinterpret_cast<void**>(device_pointer), host_pointer, flags);
}
// NOLINTEND
