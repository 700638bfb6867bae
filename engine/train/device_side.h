// A device's memory filled for training: its part of the rows, and room for batches on their way.
//
// Memory: as planned, taken from the device at construction.
// Errors: io (the device, gpu.bin), corruption (gpu.bin).
#pragma once

#include <memory>

#include "engine/tiers/cpu_tier.h"
#include "engine/tiers/tier_base.h"
#include "engine/train/device_plan.h"

namespace gneiss {

class DeviceSide {
 public:
  // Borrows the cpu tier, which the device reads by itself.
  DeviceSide(CudaBackend& backend, const DevicePlan& plan, CpuRowPath path, const Preparation& preparation,
             CpuTier& cpu_tier);

  TierBase gpu_tier() const noexcept { return gpu_tier_; }  // device memory
  BatchUploader& uploader() const noexcept { return *uploader_; }

 private:
  TierBase gpu_tier_;
  std::unique_ptr<BatchUploader> uploader_;
};

}  // namespace gneiss
