// Streams, events and host functions.
#include "tests/emulated_cuda/emulator.h"

using namespace gneiss::emulated_cuda;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  const Call call("cudaStreamCreateWithFlags");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (stream == nullptr || flags > cudaStreamNonBlocking) return Call::result(cudaErrorInvalidValue);
  *stream = new CUstream_st{call->scheduler.create_stream(flags != cudaStreamNonBlocking)};
  call->streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

// Returns at once; what is queued still runs.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Call call("cudaStreamDestroy");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (call->streams.erase(stream) == 0) return Call::result(cudaErrorInvalidResourceHandle);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Call call("cudaStreamSynchronize");
  if (call.error() == cudaErrorNoDevice || call.error() == cudaErrorNotPermitted)
    return Call::result(call.error());
  const auto state = call->find_stream(stream);
  if (state == nullptr) return Call::result(cudaErrorInvalidResourceHandle);
  ++call->counters.synchronizations;
  call->scheduler.wait({state, state->queued}, call.lock());
  return Call::result(call.error());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  Call call("cudaStreamQuery");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  const auto state = call->find_stream(stream);
  if (state == nullptr) return Call::result(cudaErrorInvalidResourceHandle);
  ++call->counters.queries;
  call->scheduler.run_by_chance(call.lock());
  return Call::result(state->completed == state->queued ? cudaSuccess : cudaErrorNotReady);
}

// Waits for the latest record at this moment: one to come means nothing to it.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  Call call("cudaStreamWaitEvent");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  const auto state = call->find_stream(stream);
  if (state == nullptr || !call->events.contains(event)) return Call::result(cudaErrorInvalidResourceHandle);
  if (event->recorded.is_reached()) return cudaSuccess;
  call->scheduler.enqueue(state, {.run = [] {}, .waits = {event->recorded}, .microseconds = 0}, call.lock());
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  Call call("cudaLaunchHostFunc");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  const auto state = call->find_stream(stream);
  if (state == nullptr) return Call::result(cudaErrorInvalidResourceHandle);
  if (function == nullptr) return Call::result(cudaErrorInvalidValue);
  const auto run = [=] {
    runs_host_function() = true;
    function(user_data);
    runs_host_function() = false;
  };
  call->scheduler.enqueue(state, {.run = run, .waits = {}, .is_host_function = true}, call.lock());
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  const Call call("cudaEventCreateWithFlags");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (event == nullptr) return Call::result(cudaErrorInvalidValue);
  *event = new CUevent_st{(flags & cudaEventDisableTiming) == 0, {}, nullptr};
  call->events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Call call("cudaEventDestroy");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (call->events.erase(event) == 0) return Call::result(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Call call("cudaEventRecord");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  const auto state = call->find_stream(stream);
  if (state == nullptr || !call->events.contains(event)) return Call::result(cudaErrorInvalidResourceHandle);
  auto time = std::make_shared<double>(0);
  const auto run = [time] { *time = emulator().scheduler.clock_microseconds(); };
  // Set before it is queued, for it may run at once, and others look at the event while a host function runs.
  event->microseconds = time;
  event->recorded = {state, state->queued + 1};
  call->scheduler.enqueue(state, {.run = run, .waits = {}, .microseconds = 0}, call.lock());
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Call call("cudaEventQuery");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (!call->events.contains(event)) return Call::result(cudaErrorInvalidResourceHandle);
  ++call->counters.queries;
  const Point point = event->recorded;
  call->scheduler.run_by_chance(call.lock());
  return Call::result(point.is_reached() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Call call("cudaEventSynchronize");
  if (call.error() == cudaErrorNoDevice || call.error() == cudaErrorNotPermitted)
    return Call::result(call.error());
  if (!call->events.contains(event)) return Call::result(cudaErrorInvalidResourceHandle);
  ++call->counters.synchronizations;
  const Point point = event->recorded;
  call->scheduler.wait(point, call.lock());
  return Call::result(call.error());
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Call call("cudaEventElapsedTime");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (!call->events.contains(start) || !call->events.contains(end)) {
    return Call::result(cudaErrorInvalidResourceHandle);
  }
  const bool were_recorded = start->microseconds != nullptr && end->microseconds != nullptr;
  if (!were_recorded || !start->has_time || !end->has_time)
    return Call::result(cudaErrorInvalidResourceHandle);
  if (!start->recorded.is_reached() || !end->recorded.is_reached()) return Call::result(cudaErrorNotReady);
  *milliseconds = static_cast<float>((*end->microseconds - *start->microseconds) / 1000);
  return cudaSuccess;
}

}  // extern "C"
