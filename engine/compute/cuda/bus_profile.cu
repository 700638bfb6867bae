#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>

#include "engine/compute/cuda/bus_profile.h"
#include "engine/compute/cuda/copy_rows.h"
#include "engine/compute/cuda/stream.h"

namespace gneiss {
namespace {

constexpr std::uint64_t sample_bytes = 64ULL << 20;
constexpr std::size_t repetitions = 3;  // of which the median counts

struct FreeDevice {
  void operator()(std::byte* data) const noexcept { cudaFree(data); }
};
struct FreeHost {
  void operator()(std::byte* data) const noexcept { cudaFreeHost(data); }
};
using DeviceBytes = std::unique_ptr<std::byte, FreeDevice>;
using PinnedBytes = std::unique_ptr<std::byte, FreeHost>;

DeviceBytes take_device(std::size_t bytes) {
  void* data = nullptr;
  cuda::check(cudaMalloc(&data, bytes), "taking the device's memory");
  return DeviceBytes(static_cast<std::byte*>(data));
}
PinnedBytes take_pinned(std::size_t bytes) {
  void* data = nullptr;
  cuda::check(cudaMallocHost(&data, bytes), "pinning memory of the host");
  return PinnedBytes(static_cast<std::byte*>(data));
}

template <class Work>
double bytes_per_second(std::uint64_t bytes, const Work& work) {
  work();  // what is first is slower
  std::array<double, repetitions> seconds{};
  for (double& second : seconds) {
    const auto began = std::chrono::steady_clock::now();
    work();
    second = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }
  std::ranges::sort(seconds);
  return static_cast<double>(bytes) / std::max(seconds[repetitions / 2], 1e-9);
}

}  // namespace

BusProfile measure_bus(std::uint64_t row_bytes) {
  // Half of the rows of a piece, scattered over all of it: as a batch's rows lie in a tier.
  const auto rows = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, sample_bytes / row_bytes / 2));
  const std::uint64_t bytes = rows * row_bytes;
  const cuda::Stream stream;
  const PinnedBytes tier = take_pinned(2 * bytes);
  const PinnedBytes staging = take_pinned(bytes);
  const DeviceBytes target = take_device(bytes);
  const DeviceBytes device_slots = take_device(rows * sizeof(std::uint32_t));
  const PinnedBytes slot_bytes = take_pinned(rows * sizeof(std::uint32_t));
  std::memset(tier.get(), 0, 2 * bytes);  // pages that are there
  auto* const slots = reinterpret_cast<std::uint32_t*>(slot_bytes.get());
  for (std::uint32_t i = 0; i < rows; ++i) {
    slots[i] = static_cast<std::uint32_t>(std::uint64_t{i} * 2654435761U % (2 * std::uint64_t{rows}));
  }
  const auto copy = [&](std::byte* to, const std::byte* from, std::size_t count) {
    cuda::check(cudaMemcpyAsync(to, from, count, cudaMemcpyHostToDevice, stream.get()),
                "copying to the device");
    stream.wait();
  };
  copy(device_slots.get(), slot_bytes.get(), rows * sizeof(std::uint32_t));

  BusProfile profile;
  profile.copy_bytes_per_second = bytes_per_second(bytes, [&] { copy(target.get(), staging.get(), bytes); });
  const TierRange range{.base = tier.get(),
                        .first_local = 0,
                        .count = rows,
                        .slots = reinterpret_cast<const std::uint32_t*>(device_slots.get()),
                        .slot_bytes = row_bytes};
  profile.bus_bytes_per_second = bytes_per_second(bytes, [&] {
    cuda::copy_rows(stream.get(), range, row_bytes, target.get());
    stream.wait();
  });
  profile.gather_bytes_per_second = bytes_per_second(bytes, [&] {
    for (std::uint32_t i = 0; i < rows; ++i) {
      std::memcpy(staging.get() + i * row_bytes, tier.get() + slots[i] * row_bytes, row_bytes);
    }
  });
  return profile;
}

}  // namespace gneiss
