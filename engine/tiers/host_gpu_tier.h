// The gpu tier where training computes on the CPU: its rows in host memory.
//
// Why:     a preparation holds for every device, and gives the same losses on each of its backends.
// Memory:  rows * row_bytes, taken once, filled in one sweep of gpu.bin with its checksums verified; nothing
//          where the preparation has no gpu tier.
// Threads: rows are only read.
#pragma once

#include "engine/tiers/tier_base.h"
#include "storage/base/aligned_buffer.h"
#include "storage/format/preparation.h"

namespace gneiss {

class HostGpuTier {
 public:
  explicit HostGpuTier(const Preparation& preparation);

  TierBase base() const noexcept { return {.rows = rows_.data(), .row_count = row_count_}; }
  std::uint64_t bytes() const noexcept { return rows_.size(); }

 private:
  std::uint64_t row_count_;
  AlignedBuffer rows_;
};

}  // namespace gneiss
