// Streams and events that end with their owners.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "engine/compute/cuda/check.h"

namespace gneiss::cuda {

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const noexcept { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "computing"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  enum class Kind { order, timing };

  explicit Event(Kind kind = Kind::order) {
    // Who waits sleeps: the processor's cores have batches to assemble.
    const unsigned flags = cudaEventBlockingSync | (kind == Kind::timing ? 0U : cudaEventDisableTiming);
    check(cudaEventCreateWithFlags(&event_, flags), "making an event");
  }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  Event& operator=(Event&&) = delete;

  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "computing"); }
  // The stream goes on once what was before the last record is done.
  void hold(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "computing"); }
  void wait() const { check(cudaEventSynchronize(event_), "computing"); }
  double seconds_since(const Event& earlier) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "measuring time");
    return static_cast<double>(milliseconds) / 1000;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace gneiss::cuda
