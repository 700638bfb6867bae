// A device's memory filled for training: its part of the rows, and room for batches on their way.
//
// Memory: as planned, of what take() has taken from the device.
// Errors: io (the device, gpu.bin), corruption (gpu.bin).
#pragma once

#include <memory>

#include "engine/tiers/cpu_tier.h"
#include "engine/tiers/tier_base.h"
#include "engine/train/device_plan.h"

namespace gneiss {

class DeviceSide {
 public:
  // Takes all that is planned from the device, which keeps it. Throws Error(config) where it has less.
  static void take(CudaBackend& backend, const DevicePlan& plan) {
    backend.reserve(plan.total_bytes() - plan.product_bytes, plan.product_bytes);
  }
  // After take(). Borrows the cpu tier, which the device reads by itself.
  DeviceSide(CudaBackend& backend, const DevicePlan& plan, CpuRowPath path, const Preparation& preparation,
             CpuTier& cpu_tier);

  TierBase gpu_tier() const noexcept { return gpu_tier_; }  // device memory
  BatchUploader& uploader() const noexcept { return *uploader_; }
  bool reads_cpu_tier() const noexcept { return reads_cpu_tier_; }  // the system let its memory be pinned

 private:
  TierBase gpu_tier_;
  std::unique_ptr<BatchUploader> uploader_;
  bool reads_cpu_tier_ = false;
};

}  // namespace gneiss
