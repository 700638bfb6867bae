// Whether sampling holds the topology in memory or sweeps it on disk, and the least memory that would do.
#pragma once

#include <cstdint>

#include "sampler/graph_sweep.h"
#include "sampler/prepare.h"

namespace gneiss {

// How the topology is gone through: held in memory, or swept on disk.
struct SamplingMemory {
  bool in_memory = true;
  std::uint64_t sweep_bytes = 0;  // for sampling ahead, while counts of nodes are all else that is held
};

GraphSweepOptions sweep_options(const DatasetInfo& info);

// Chooses how the topology is gone through. Throws Error(config) with the least that would do.
SamplingMemory plan_memory(const Dataset& dataset, const PrepareRequest& request, const ThreadPool& pool);

}  // namespace gneiss
