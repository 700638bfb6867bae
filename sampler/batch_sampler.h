// Where prepare gets its batches from: sampled when asked for, or sampled ahead (sampler/sweep_sampler.h).
//
// Same:    a batch is the same whichever sampler gives it, bit by bit.
// Threads: sample() may be called concurrently with distinct workers.
#pragma once

#include <cstddef>
#include <vector>

#include "sampler/batches.h"
#include "sampler/neighbor_sampler.h"
#include "sampler/topology.h"

namespace gneiss {

class BatchSampler {
 public:
  BatchSampler() = default;
  BatchSampler(const BatchSampler&) = delete;
  BatchSampler& operator=(const BatchSampler&) = delete;
  virtual ~BatchSampler() = default;

  // Fills `batch`, whose memory is reused, with the schedule's batch of this index.
  // Throws Error: config (a batch beyond 32-bit counts), io, corruption.
  virtual void sample(std::size_t index, std::size_t worker, SampledBatch& batch) = 0;
  // What going through the batches is, to those who wait for it.
  virtual const char* label() const noexcept = 0;
};

// Samples from a topology in memory. Borrows the schedule. Memory: the topology and a hash table a worker.
class MemorySampler final : public BatchSampler {
 public:
  MemorySampler(const Dataset& dataset, const BatchSchedule& schedule, const SamplerOptions& options,
                std::size_t worker_count)
      : schedule_(schedule),
        topology_(dataset),
        samplers_(worker_count, NeighborSampler(topology_.view(), options)) {}

  void sample(std::size_t index, std::size_t worker, SampledBatch& batch) override {
    samplers_[worker].sample(schedule_.key(index), schedule_.seeds(index), batch);
  }
  const char* label() const noexcept override { return "sampling"; }

 private:
  const BatchSchedule& schedule_;
  LoadedTopology topology_;
  std::vector<NeighborSampler> samplers_;
};

}  // namespace gneiss
