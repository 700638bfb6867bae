// The cpu tier: hot rows in host memory, read in place through one u32 slot per input row.
//
// Memory:  rows * row_bytes, taken once, filled in one sweep of cpu.bin with its checksums verified.
// Threads: read-only after construction.
#pragma once

#include <cstdint>

#include "storage/base/aligned_buffer.h"
#include "storage/format/preparation.h"

namespace gneiss {

class CpuTier {
 public:
  explicit CpuTier(const Preparation& preparation);

  const std::byte* rows() const noexcept { return rows_.data(); }
  std::uint64_t row_count() const noexcept { return row_count_; }
  std::uint64_t bytes() const noexcept { return rows_.size(); }

 private:
  std::uint64_t row_count_;
  AlignedBuffer rows_;
};

}  // namespace gneiss
