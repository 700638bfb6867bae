// The device's memory: taken at once, dealt out in order, given back at once.
//
// Why:     no step waits for an allocation, none fails in the middle of a run, and what a run takes is what
//          its plan said.
// Threads: one.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/cuda/check.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "storage/base/rounding.h"

namespace gneiss::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() {
    if (data_ != nullptr) cudaFree(data_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  bool is_taken() const noexcept { return data_ != nullptr; }
  std::size_t left() const noexcept { return bytes_ - used_; }

  void take(std::size_t bytes) {
    bytes_ = round_up(bytes, device_alignment);
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, bytes_);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // told here
      fail_memory(bytes_);
    }
    check(status, "taking the device's memory");
    data_ = static_cast<std::byte*>(data);
  }
  // What was dealt out after a mark is free again.
  std::size_t mark() const noexcept { return used_; }
  void return_to(std::size_t mark) noexcept { used_ = mark; }
  // Precondition: there is so much left.
  std::span<std::byte> deal(std::size_t bytes) {
    const std::span<std::byte> part(data_ + used_, bytes);
    used_ += round_up(bytes, device_alignment);
    return part;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t used_ = 0;
};

}  // namespace gneiss::cuda
