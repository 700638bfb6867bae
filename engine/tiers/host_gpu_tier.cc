#include "engine/tiers/host_gpu_tier.h"

#include "engine/tiers/sweep_image.h"

namespace gneiss {

HostGpuTier::HostGpuTier(const Preparation& preparation)
    : row_count_(preparation.gpu_row_count()),
      rows_(row_count_ == 0 ? 0 : row_count_ * image_row_bytes(*preparation.gpu_tier())) {
  if (row_count_ > 0) sweep_image(*preparation.gpu_tier(), rows_.bytes());
}

}  // namespace gneiss
