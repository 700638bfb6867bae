#include "tests/emulated_cuda/emulator.h"

#include <algorithm>

namespace gneiss::emulated_cuda {

Emulator& emulator() {
  // Never destroyed: others' destructors free device memory at exit.
  static auto* const state = new Emulator;
  return *state;
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

bool& runs_host_function() {
  thread_local bool runs = false;
  return runs;
}

std::shared_ptr<StreamState> Emulator::find_stream(cudaStream_t handle) {
  if (handle == nullptr) return scheduler.null_stream();
  return streams.contains(handle) ? handle->state : nullptr;
}

Call::Call(std::string_view name, Needs needs) : lock_(emulator().mutex) {
  Emulator& state = emulator();
  if (runs_host_function()) {
    error_ = cudaErrorNotPermitted;
    return;
  }
  for (Fault& fault : state.faults) {
    if (fault.name == name && --fault.calls_left == 0) error_ = fault.error;
  }
  std::erase_if(state.faults, [](const Fault& fault) { return fault.calls_left == 0; });
  if (error_ != cudaSuccess) return;
  if (needs == Needs::device && state.device_count == 0) error_ = cudaErrorNoDevice;
}

Call::~Call() { emulator().device.close(); }

cudaError_t Call::result(cudaError_t error) {
  if (error != cudaSuccess) last_error() = error;
  return error;
}

}  // namespace gneiss::emulated_cuda
