// How fast rows come from the host's memory to the device, by each way that they may take.
//
// Why: which way is faster is a matter of the bus, of the processor's memory and of the width of a row; so it
//      is measured, once, before training begins, and the rows of the cpu tier take the faster one.
#pragma once

#include <cstdint>

#include "engine/compute/cuda/cuda_backend.h"

namespace gneiss {

struct BusProfile {
  double copy_bytes_per_second = 0;    // one pinned piece of memory
  double bus_bytes_per_second = 0;     // scattered rows, read by the device where they lie
  double gather_bytes_per_second = 0;  // scattered rows, into a pinned buffer, by the thread that uploads

  double staged_bytes_per_second() const noexcept {  // gathered, then copied
    const double seconds = 1 / gather_bytes_per_second + 1 / copy_bytes_per_second;
    return 1 / seconds;
  }
  CpuRowPath faster_path() const noexcept {
    return bus_bytes_per_second >= staged_bytes_per_second() ? CpuRowPath::bus : CpuRowPath::staged;
  }
};

// Takes 100 MiB of the host and 32 of the device while it measures. Throws Error(io) where there is no such
// memory left.
BusProfile measure_bus(std::uint64_t row_bytes);

}  // namespace gneiss
