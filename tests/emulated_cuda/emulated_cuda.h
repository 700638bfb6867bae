// What a test decides about the emulated device, and what it learns from it.
//
// Why:     code for CUDA that is right for every order that CUDA allows is right on a device that takes one
//          of them. A test runs it under many seeds, and under the two extremes.
// Threads: any; but reset() and the set_*() when no other thread is inside a CUDA call.
// Use:     reset() at the start of a test case; set_seed(seed) in a loop, with the seed in the message.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gneiss::emulated_cuda {

enum class Schedule : std::uint8_t {
  // Mostly as late as CUDA allows, in an order drawn from the seed that respects streams and events only. For
  // some seeds an operation may also run as soon as it is queued.
  adversarial,
  // Nothing runs before someone waits, and then only what is waited for.
  late,
  // Each operation runs at the call that queues it, as far as it may.
  eager,
};

struct Counters {
  std::uint64_t kernel_launches = 0;
  std::uint64_t products = 0;          // of cuBLAS
  std::uint64_t synchronizations = 0;  // of a stream, an event or the device
  std::uint64_t queries = 0;
  std::uint64_t allocations = 0;  // of device memory
  std::uint64_t pinned_allocations = 0;
  std::uint64_t live_allocations = 0;
  std::uint64_t live_pinned_ranges = 0;  // allocated or registered
  std::uint64_t live_streams = 0;
  std::uint64_t live_events = 0;
  std::uint64_t device_bytes = 0;      // allocated now
  std::uint64_t device_bytes_max = 0;  // at once since reset()
  std::uint64_t host_to_device_bytes = 0;
  std::uint64_t device_to_host_bytes = 0;
  std::uint64_t device_to_device_bytes = 0;
  // Of host_to_device_bytes and device_to_host_bytes: from and to memory that is not pinned.
  std::uint64_t pageable_bytes = 0;
};

// A machine with one device of 256 MiB, nothing allocated, no streams but the null stream, seed 0,
// adversarial. What is queued is dropped; pointers and handles given before are invalid.
void reset();

void set_seed(std::uint64_t seed);
void set_schedule(Schedule schedule);
// For allocations to come; 8 GiB at most. Nothing may be allocated.
void set_device_memory(std::size_t bytes);
// 0: cudaGetDeviceCount and all that needs a device return cudaErrorNoDevice.
void set_device_count(int count);
// The `nth` call from now (1: the next) of the runtime function `name`, "cudaMalloc", returns `error` and
// does nothing else, but for a synchronization, which has waited. The name is of the function that the
// program calls; "cudaLaunchKernelEx" is a launch. cuBLAS functions have names too, and fail with
// EXECUTION_FAILED.
void fail_call(std::string_view name, std::uint64_t nth, cudaError_t error);
// Faults that fail_call() asked for and that have not come about.
std::size_t pending_faults();

Counters counters();
// Launches of kernels whose name without namespaces, template arguments and parameters is `kernel`.
std::uint64_t launches_of(std::string_view kernel);
// Operations queued and not yet run.
std::size_t pending_operations();

// Copies device memory of a live allocation without a stream or a wait: what lies there at this moment.
void peek(void* target, const void* device_source, std::size_t bytes);

}  // namespace gneiss::emulated_cuda
