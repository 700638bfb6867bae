// What a training run will take, before it takes it: sizes from the preparation, slots from the budget.
//
// Why: any cache size works and nothing is found out by running out of memory: a budget too small is
//      refused at the start with the least that would do.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/nn/model.h"
#include "engine/pipeline/batch_slot.h"

namespace gneiss {

// Upper bounds on each block of any batch of a pool, block 0 first.
std::vector<BlockMaxima> block_maxima(std::span<const std::int32_t> fanouts, const PoolMaxima& pool);
std::vector<BlockMaxima> block_maxima(const Preparation& preparation);

// Code, libraries, the catalog and thread stacks: measured at 35 to 45 MiB.
inline constexpr std::uint64_t program_memory_bytes = 48ULL << 20;

// What CUDA's runtime and cuBLAS take of the host besides. An estimate: no device was at hand to measure it.
inline constexpr std::uint64_t device_runtime_bytes = 512ULL << 20;

// What a plan is made from: known of a preparation, or foreseen before it is made.
struct MemoryNeeds {
  std::uint64_t gpu_tier_bytes = 0;  // in host memory: 0 where a device holds it
  std::uint64_t cpu_tier_bytes = 0;
  // Activations, parameters, gradients, moments, the best parameters; ROC-AUC's scores.
  std::uint64_t model_bytes = 0;
  std::uint64_t slot_bytes = 0;   // one batch in flight
  std::uint64_t index_bytes = 0;  // of pool and pack
  // The least that exact evaluation takes; in the plan of a run, what it takes: it makes use of more.
  std::uint64_t evaluation_bytes = 0;
  std::uint64_t device_bytes = 0;  // of host memory, for a device: its runtime, buffers on the way to it
};
// For computing on the CPU, where host memory holds the gpu tier too.
MemoryNeeds memory_needs(const Preparation& preparation, std::uint64_t model_bytes);
// Of the index of shared rows, which is held twice while it is read.
std::uint64_t extent_memory(std::uint64_t extents);
// Of the tier that holds `slots` rows, which may be exchanged.
std::uint64_t cpu_tier_memory(std::uint64_t slots, std::uint64_t row_bytes, Residency residency);

struct MemoryPlan : MemoryNeeds {
  std::uint64_t program_bytes = 0;
  std::uint32_t slot_count = 0;

  std::uint64_t total_bytes() const noexcept {
    return gpu_tier_bytes + cpu_tier_bytes + model_bytes + slot_bytes * slot_count + index_bytes +
           evaluation_bytes + device_bytes + program_bytes;
  }
};

// "gpu tier 1.20 GB in host memory, "; nothing where there is none.
std::string gpu_tier_text(const MemoryNeeds& needs);

// As many slots as fit, at most `slot_count_max`, at least 2. Throws Error(config) with the least budget that
// would do.
MemoryPlan plan_memory(const MemoryNeeds& needs, std::uint64_t budget_bytes, std::uint32_t slot_count_max);

}  // namespace gneiss
