#include <algorithm>
#include <array>
#include <memory>

#include "bench/gpu/ceilings.h"
#include "engine/compute/cuda/stream.h"

namespace gneiss::gpu {
namespace {

struct FreeDevice {
  void operator()(void* data) const noexcept { cudaFree(data); }
};
struct FreeHost {
  void operator()(void* data) const noexcept { cudaFreeHost(data); }
};
using DeviceBytes = std::unique_ptr<void, FreeDevice>;
using PinnedBytes = std::unique_ptr<void, FreeHost>;

// Memory that was written before it is read.
DeviceBytes take_device(std::size_t bytes) {
  void* data = nullptr;
  cuda::check(cudaMalloc(&data, bytes), "taking the device's memory");
  DeviceBytes memory(data);
  cuda::check(cudaMemset(data, 0x3C, bytes), "writing to the device's memory");
  return memory;
}

PinnedBytes take_pinned(std::size_t bytes) {
  void* data = nullptr;
  cuda::check(cudaMallocHost(&data, bytes), "pinning memory of the host");
  PinnedBytes memory(data);
  std::fill_n(static_cast<std::byte*>(data), bytes, std::byte{0x3C});
  return memory;
}

// Bytes a second of copying `bytes`; the median of five, after one that does not count.
double copy_rate(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const cuda::Stream stream;
  cuda::Event began(cuda::Event::Kind::timing);
  cuda::Event ended(cuda::Event::Kind::timing);
  std::array<double, 5> seconds{};
  const auto copy = [&] { cuda::check(cudaMemcpyAsync(to, from, bytes, kind, stream.get()), "copying"); };
  copy();
  for (double& second : seconds) {
    began.record(stream.get());
    copy();
    ended.record(stream.get());
    ended.wait();
    second = ended.seconds_since(began);
  }
  std::ranges::sort(seconds);
  return static_cast<double>(bytes) / std::max(seconds[seconds.size() / 2], 1e-9);
}

}  // namespace

double device_copy_rate(std::uint64_t bytes) {
  const DeviceBytes from = take_device(bytes);
  const DeviceBytes to = take_device(bytes);
  cuda::check(cudaDeviceSynchronize(), "writing to the device's memory");
  return 2 * copy_rate(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice);
}

BusRates pinned_copy_rates(std::uint64_t bytes) {
  const DeviceBytes device = take_device(bytes);
  const PinnedBytes host = take_pinned(bytes);
  cuda::check(cudaDeviceSynchronize(), "writing to the device's memory");
  return {.up = copy_rate(device.get(), host.get(), bytes, cudaMemcpyHostToDevice),
          .down = copy_rate(host.get(), device.get(), bytes, cudaMemcpyDeviceToHost)};
}

}  // namespace gneiss::gpu
