// Sampled batches of a preparation, all in memory at once: steps can be timed without what brings batches.
//
// Memory: a slot for each batch. Rows lie where training finds them: in the tiers in memory and in the
// segment.
#pragma once

#include <memory>
#include <vector>

#include "engine/pipeline/pipelined_source.h"

namespace gneiss::step {

class HeldBatches {
 public:
  // The first `count` training batches of the pool's epoch 0, which must have as many. Borrows all but
  // `gpu_tier`.
  // Throws Error: config (fewer batches; rows that come and go), io, corruption.
  HeldBatches(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier, TierBase gpu_tier,
              std::uint32_t count);

  std::size_t size() const noexcept { return batches_.size(); }
  const SourcedBatch& operator[](std::size_t index) const noexcept { return *batches_[index]; }

 private:
  std::vector<std::unique_ptr<PipelinedSource>> sources_;  // one a batch: each keeps its slot
  std::vector<const SourcedBatch*> batches_;
};

}  // namespace gneiss::step
