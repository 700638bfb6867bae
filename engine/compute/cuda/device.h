// Whether a CUDA device can be used here, and if not, why: what `--device auto|cpu|cuda` asks.
//
// Why:     one program runs with and without CUDA, and with and without a driver: the runtime is linked
//          statically, and the driver is looked for when the program asks.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/compute/tensor_view.h"

namespace gneiss {

struct DeviceProbe {
  bool usable = false;
  std::string reason;              // when not usable: one clause, "no CUDA driver is installed"
  std::string name;                // when usable: "NVIDIA H200"
  std::int32_t index = 0;          // the device that was probed: the first that CUDA_VISIBLE_DEVICES shows
  std::int32_t capability = 0;     // 90 for compute capability 9.0
  std::uint64_t memory_bytes = 0;  // of the whole device
};

// Asks the driver, runs an empty kernel and waits for it. The first call may take a second: it makes a
// context.
DeviceProbe probe_cuda_device();

// Why there can be no device, found without asking the driver for anything: "no CUDA driver is installed".
// Empty: there is a driver.
std::string missing_cuda_driver();

// "auto" is cuda where probe_cuda_device() finds it usable, else cpu. Throws Error(config) for another name
// than auto, cpu and cuda, and for "cuda" where it is not usable, with the reason.
Device choose_device(std::string_view name);
// The same decision over a probe already made.
Device choose_device(std::string_view name, const DeviceProbe& probe);

}  // namespace gneiss
