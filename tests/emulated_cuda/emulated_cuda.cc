#include "tests/emulated_cuda/emulated_cuda.h"

#include <algorithm>
#include <cstring>

#include "tests/emulated_cuda/die.h"
#include "tests/emulated_cuda/emulator.h"

namespace gneiss::emulated_cuda {

void reset() {
  Emulator& state = emulator();
  const std::lock_guard lock(state.mutex);
  state.scheduler.drop_all();
  for (const cudaStream_t stream : state.streams) delete stream;
  for (const cudaEvent_t event : state.events) delete event;
  state.streams.clear();
  state.events.clear();
  state.device.free_all();
  state.device.set_capacity(std::size_t{256} << 20);
  state.pinned.free_all();
  state.faults.clear();
  state.device_count = 1;
  state.counters = {};
  state.launches.clear();
  last_error() = cudaSuccess;
}

void set_seed(std::uint64_t seed) {
  const std::lock_guard lock(emulator().mutex);
  emulator().scheduler.set_seed(seed);
}

void set_schedule(Schedule schedule) {
  const std::lock_guard lock(emulator().mutex);
  emulator().scheduler.set_schedule(schedule);
}

void set_device_memory(std::size_t bytes) {
  const std::lock_guard lock(emulator().mutex);
  if (emulator().device.used() > 0) die("set_device_memory() while memory is allocated");
  if (bytes > std::size_t{8} << 30) die("set_device_memory() of more than 8 GiB");
  emulator().device.set_capacity(bytes);
}

void set_device_count(int count) {
  const std::lock_guard lock(emulator().mutex);
  emulator().device_count = count;
}

void fail_call(std::string_view name, std::uint64_t nth, cudaError_t error) {
  const std::lock_guard lock(emulator().mutex);
  if (nth == 0) die("fail_call(): the next call is number 1");
  emulator().faults.push_back({std::string(name), nth, error});
}

std::size_t pending_faults() {
  const std::lock_guard lock(emulator().mutex);
  return emulator().faults.size();
}

Counters counters() {
  Emulator& state = emulator();
  const std::lock_guard lock(state.mutex);
  Counters counters = state.counters;
  counters.live_allocations = state.device.allocation_count();
  counters.live_pinned_ranges = state.pinned.range_count();
  counters.live_streams = state.streams.size();
  counters.live_events = state.events.size();
  counters.device_bytes = state.device.used();
  return counters;
}

std::uint64_t launches_of(std::string_view kernel) {
  const std::lock_guard lock(emulator().mutex);
  const auto found = emulator().launches.find(std::string(kernel));
  return found == emulator().launches.end() ? 0 : found->second;
}

std::size_t pending_operations() {
  const std::lock_guard lock(emulator().mutex);
  return emulator().scheduler.pending();
}

void peek(void* target, const void* device_source, std::size_t bytes) {
  Emulator& state = emulator();
  const std::lock_guard lock(state.mutex);
  if (!state.device.holds(device_source, bytes)) die("peek() outside of an allocation");
  state.device.open();
  std::memcpy(target, device_source, bytes);
  state.device.close();
}

}  // namespace gneiss::emulated_cuda
