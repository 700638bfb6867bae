// The emulator's state, and what every function of its API begins with.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "tests/emulated_cuda/device_memory.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/emulated_cuda/pinned_memory.h"
#include "tests/emulated_cuda/scheduler.h"

struct CUstream_st {
  std::shared_ptr<gneiss::emulated_cuda::StreamState> state;
};

struct CUevent_st {
  bool has_time;
  // Of the latest record; reached at once before the first.
  gneiss::emulated_cuda::Point recorded;
  std::shared_ptr<double> microseconds;
};

namespace gneiss::emulated_cuda {

struct Fault {
  std::string name;
  std::uint64_t calls_left;
  cudaError_t error;
};

struct Emulator {
  std::mutex mutex;  // guards all of it
  DeviceMemory device;
  PinnedMemory pinned;
  Scheduler scheduler;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  std::vector<Fault> faults;
  int device_count = 1;
  Counters counters;
  std::map<std::string, std::uint64_t> launches;  // by the kernel's bare name

  // Null for a handle that is not valid.
  std::shared_ptr<StreamState> find_stream(cudaStream_t handle);
};

Emulator& emulator();

// One call of the API: holds the lock, closes the device's memory at the end, and knows whether the call
// fails before it begins.
class Call {
 public:
  enum class Needs : std::uint8_t { nothing, device };

  explicit Call(std::string_view name, Needs needs = Needs::device);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();

  // What the call returns if it is not allowed to do anything: no device, a fault that a test asked for.
  cudaError_t error() const { return error_; }
  // Notes an error for cudaGetLastError() and hands it on.
  static cudaError_t result(cudaError_t error);

  Emulator* operator->() const { return &emulator(); }
  std::unique_lock<std::mutex>& lock() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
  cudaError_t error_ = cudaSuccess;
};

// cudaGetLastError()'s: of this host thread.
cudaError_t& last_error();
// A host function runs in this host thread, which may not call CUDA then.
bool& runs_host_function();

}  // namespace gneiss::emulated_cuda
