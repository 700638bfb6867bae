// Allocations and copies. What an asynchronous copy may do early and late depends on whether the host's side
// of it is pinned; see "API synchronization behavior" in the CUDA Runtime API.
#include <cstring>
#include <memory>
#include <vector>

#include "tests/emulated_cuda/emulator.h"

namespace gneiss::emulated_cuda {
namespace {

// A copy of `height` rows of `width` bytes.
struct Rows {
  std::byte* target;
  std::size_t target_pitch;
  const std::byte* source;
  std::size_t source_pitch;
  std::size_t width;
  std::size_t height;

  std::size_t bytes() const { return width * height; }
  std::size_t target_extent() const { return (height - 1) * target_pitch + width; }
  std::size_t source_extent() const { return (height - 1) * source_pitch + width; }
};

void copy_rows(const Rows& rows) {
  for (std::size_t row = 0; row < rows.height; ++row) {
    std::memmove(rows.target + row * rows.target_pitch, rows.source + row * rows.source_pitch, rows.width);
  }
}

enum class Place : std::uint8_t { device, pinned, pageable, nowhere };

Place place_of(const void* pointer, std::size_t bytes) {
  const Emulator& state = emulator();
  if (state.device.is_device_address(pointer)) {
    return state.device.holds(pointer, bytes) ? Place::device : Place::nowhere;
  }
  return state.pinned.holds(pointer, bytes) ? Place::pinned : Place::pageable;
}

bool agrees(cudaMemcpyKind kind, bool from_device, bool to_device) {
  switch (kind) {
    case cudaMemcpyDefault:
      return true;
    case cudaMemcpyHostToHost:
      return !from_device && !to_device;
    case cudaMemcpyHostToDevice:
      return !from_device && to_device;
    case cudaMemcpyDeviceToHost:
      return from_device && !to_device;
    case cudaMemcpyDeviceToDevice:
      return from_device && to_device;
  }
  return false;
}

void count_copy(Counters& counters, std::size_t bytes, Place source, Place target) {
  const bool from_device = source == Place::device, to_device = target == Place::device;
  if (from_device && to_device) counters.device_to_device_bytes += bytes;
  if (!from_device && to_device) counters.host_to_device_bytes += bytes;
  if (from_device && !to_device) counters.device_to_host_bytes += bytes;
  if (from_device == to_device) return;
  if (source == Place::pageable || target == Place::pageable) counters.pageable_bytes += bytes;
}

cudaError_t copy(Call& call, Rows rows, cudaMemcpyKind kind, cudaStream_t stream_handle,
                 bool waits_for_pinned) {
  if (call.error() != cudaSuccess) return call.error();
  const auto stream = call->find_stream(stream_handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (rows.bytes() == 0) return cudaSuccess;
  if (rows.target == nullptr || rows.source == nullptr) return cudaErrorInvalidValue;
  if (rows.target_pitch < rows.width || rows.source_pitch < rows.width) return cudaErrorInvalidValue;
  const Place target = place_of(rows.target, rows.target_extent());
  const Place source = place_of(rows.source, rows.source_extent());
  if (target == Place::nowhere || source == Place::nowhere) return cudaErrorInvalidValue;
  const bool from_device = source == Place::device, to_device = target == Place::device;
  if (!agrees(kind, from_device, to_device)) return cudaErrorInvalidValue;
  count_copy(call->counters, rows.bytes(), source, target);

  Operation operation;
  operation.microseconds = 2 + static_cast<double>(rows.bytes()) / 25e3;  // 25 GB/s
  if (source == Place::pageable && to_device) {
    // Staged at the call, written later: the host may change its own at once.
    auto staged = std::make_shared<std::vector<std::byte>>(rows.source_extent());
    std::memcpy(staged->data(), rows.source, staged->size());
    operation.run = [rows, staged]() mutable {
      rows.source = staged->data();
      copy_rows(rows);
    };
  } else {
    operation.run = [rows] { copy_rows(rows); };
  }
  const Point point = call->scheduler.enqueue(stream, std::move(operation), call.lock());
  const bool is_pinned_transfer =
      from_device != to_device && (source == Place::pinned || target == Place::pinned);
  if ((!to_device && target == Place::pageable) || (!from_device && !to_device) ||
      (waits_for_pinned && is_pinned_transfer)) {
    call->scheduler.wait(point, call.lock());
  }
  return cudaSuccess;
}

Rows one_row(void* target, const void* source, std::size_t bytes) {
  return {static_cast<std::byte*>(target), bytes, static_cast<const std::byte*>(source), bytes, bytes, 1};
}

cudaError_t fill(Call& call, void* target, int value, std::size_t bytes, cudaStream_t stream_handle) {
  if (call.error() != cudaSuccess) return call.error();
  const auto stream = call->find_stream(stream_handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const Place place = place_of(target, bytes);
  if (place != Place::device && place != Place::pinned) return cudaErrorInvalidValue;
  call->scheduler.enqueue(stream, {.run = [=] { std::memset(target, value, bytes); }, .waits = {}},
                          call.lock());
  return cudaSuccess;
}

}  // namespace
}  // namespace gneiss::emulated_cuda

using namespace gneiss::emulated_cuda;

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  Call call("cudaMalloc");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (pointer == nullptr) return Call::result(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = call->device.allocate(bytes);
  if (*pointer == nullptr) return Call::result(cudaErrorMemoryAllocation);
  Counters& counters = call->counters;
  ++counters.allocations;
  counters.device_bytes_max = std::max<std::uint64_t>(counters.device_bytes_max, call->device.used());
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  Call call("cudaFree");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (pointer == nullptr) return cudaSuccess;
  call->scheduler.wait_all(call.lock());
  return Call::result(call->device.free(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const Call call("cudaMemGetInfo");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  *total_bytes = call->device.capacity();
  *free_bytes = call->device.capacity() - call->device.used();
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int) {
  const Call call("cudaHostAlloc");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (pointer == nullptr) return Call::result(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = call->pinned.allocate(bytes);
  if (*pointer == nullptr) return Call::result(cudaErrorMemoryAllocation);
  ++call->counters.pinned_allocations;
  return cudaSuccess;
}

// A fault for it is asked for under the name cudaHostAlloc or its own.
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  {
    const Call call("cudaMallocHost");
    if (call.error() != cudaSuccess) return Call::result(call.error());
  }
  return cudaHostAlloc(pointer, bytes, 0);
}

cudaError_t cudaFreeHost(void* pointer) {
  Call call("cudaFreeHost");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (pointer == nullptr) return cudaSuccess;
  call->scheduler.wait_all(call.lock());
  return Call::result(call->pinned.free(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned int) {
  const Call call("cudaHostRegister");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (pointer == nullptr || bytes == 0) return Call::result(cudaErrorInvalidValue);
  return Call::result(call->pinned.add(pointer, bytes) ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered);
}

// Waits for nothing: CUDA does not say that it does.
cudaError_t cudaHostUnregister(void* pointer) {
  const Call call("cudaHostUnregister");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  return Call::result(call->pinned.remove(pointer) ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host_pointer, unsigned int) {
  const Call call("cudaHostGetDevicePointer");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  if (!call->pinned.holds(host_pointer, 1)) return Call::result(cudaErrorInvalidValue);
  *device_pointer = host_pointer;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Call call("cudaPointerGetAttributes");
  if (call.error() != cudaSuccess) return Call::result(call.error());
  void* const plain = const_cast<void*>(pointer);
  switch (place_of(pointer, 1)) {
    case Place::device:
      *attributes = {cudaMemoryTypeDevice, 0, plain, nullptr};
      break;
    case Place::pinned:
      *attributes = {cudaMemoryTypeHost, 0, plain, plain};
      break;
    default:
      *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, plain};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t bytes, cudaMemcpyKind kind) {
  Call call("cudaMemcpy");
  return Call::result(copy(call, one_row(target, source, bytes), kind, nullptr, true));
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  Call call("cudaMemcpyAsync");
  return Call::result(copy(call, one_row(target, source, bytes), kind, stream, false));
}

cudaError_t cudaMemcpy2D(void* target, size_t target_pitch, const void* source, size_t source_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind) {
  Call call("cudaMemcpy2D");
  const Rows rows{static_cast<std::byte*>(target),
                  target_pitch,
                  static_cast<const std::byte*>(source),
                  source_pitch,
                  width,
                  height};
  return Call::result(copy(call, rows, kind, nullptr, true));
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source, size_t source_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  Call call("cudaMemcpy2DAsync");
  const Rows rows{static_cast<std::byte*>(target),
                  target_pitch,
                  static_cast<const std::byte*>(source),
                  source_pitch,
                  width,
                  height};
  return Call::result(copy(call, rows, kind, stream, false));
}

cudaError_t cudaMemset(void* target, int value, size_t bytes) {
  Call call("cudaMemset");
  return Call::result(fill(call, target, value, bytes, nullptr));
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  Call call("cudaMemsetAsync");
  return Call::result(fill(call, target, value, bytes, stream));
}

}  // extern "C"
