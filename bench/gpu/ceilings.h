// What the device and its bus reach without any kernel of ours, in the same process: what operators are held
// against.
#pragma once

#include <cstdint>

namespace gneiss::gpu {

// Bytes a second, those read and those written, of cudaMemcpy from device memory to device memory.
double device_copy_rate(std::uint64_t bytes);

struct BusRates {
  double up = 0;    // bytes a second from pinned memory to the device
  double down = 0;  // and back
};
BusRates pinned_copy_rates(std::uint64_t bytes);

}  // namespace gneiss::gpu
