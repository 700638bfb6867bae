// What a training run will take of a device's memory, before it takes it.
//
// Why: all of it is taken at once; a device with too little is refused at the start, with the number that
//      would do.
#pragma once

#include <cstdint>

#include "engine/compute/cuda/cuda_backend.h"
#include "engine/train/trainer.h"

namespace gneiss {

struct DevicePlan {
  std::uint64_t computation_bytes = 0;  // model, optimizer and loss
  std::uint64_t product_bytes = 0;      // of computation_bytes: what products work in
  std::uint64_t gpu_tier_bytes = 0;
  UploadSizes upload;

  std::uint64_t total_bytes() const noexcept {
    return computation_bytes + gpu_tier_bytes + upload.bytes() + alignment_bytes;
  }
  // Every buffer begins at a multiple of device_alignment; a model of many layers has some hundreds.
  static constexpr std::uint64_t alignment_bytes = 4096 * device_alignment;
};

// Throws Error(config) where that is more than `budget_bytes`.
DevicePlan plan_device(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                       const Backend& backend, std::uint64_t budget_bytes);

}  // namespace gneiss
