#include "engine/train/device_side.h"

#include "engine/tiers/sweep_image.h"

namespace gneiss {

DeviceSide::DeviceSide(CudaBackend& backend, const DevicePlan& plan, CpuRowPath path,
                       const Preparation& preparation, CpuTier& cpu_tier) {
  const std::span<std::byte> rows = backend.keep(plan.gpu_tier_bytes);
  if (preparation.gpu_row_count() > 0) {
    sweep_image(*preparation.gpu_tier(), [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      backend.fill(rows, offset, bytes);
    });
  }
  gpu_tier_ = {.rows = rows.data(), .row_count = preparation.gpu_row_count()};
  uploader_ = backend.make_uploader(plan.upload, path);
  reads_cpu_tier_ = uploader_->pin(cpu_tier.memory());
}

}  // namespace gneiss
