// gneiss prepare, as a library: sample twice, plan in between, pack.
//
// Why twice: sampling is a pure function of its seed. The first pass counts, so that plan and cost are
//            known before anything is written; the second writes each batch once, already planned.
// Memory:    topology, 16 bytes a node, the batches in work, and the packer's pieces. Where the topology does
//            not fit, it is swept on disk, once for both passes; a budget too small for that is refused with
//            the least that would do.
// Crash:     everything is written to prepared/NAME.partial, renamed when whole, and sealed in the catalog.
//            What a run did before it was killed or interrupted, or the drive was full, is kept there, and
//            the same request goes on with it, to the same files; another one removes it.
// Errors:    config (options, budget), input (stale), io (no space), corruption, cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sampler/budget_table.h"
#include "storage/base/parallel.h"
#include "storage/format/preparation.h"

namespace gneiss {

struct PrepareRequest {
  std::string name = "default";
  PreparationOptions options;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_budget_bytes = 0;  // the most the preparation may take on the drive; 0: what is free
  std::uint64_t read_gap_bytes = 0;     // of shared rows, see shared_layout.h; 0: by the drive's profile
  bool force = false;                   // replace a preparation of that name
  bool dry_run = false;                 // stop after the plan
  // On a dry run: receives what other budgets would give. Empty: they are not looked at.
  std::function<void(const BudgetChoice&)> explore_budgets{};
  double checkpoint_seconds = 10;  // about as much work may be lost by a kill; 0: as little as possible
};

struct PrepareResult {
  PreparationCost cost;
  bool already_done = false;          // a sealed preparation with these options exists
  std::string went_on_after;          // what an earlier run had done, in words; empty: nothing
  std::uint64_t sampled_batches = 0;  // now, in both passes
  double sampling_seconds = 0;
  double packing_seconds = 0;
  std::uint64_t packed_bytes = 0;  // of all files
  std::uint64_t samples_bytes = 0;
  std::uint64_t bytes_read = 0;  // of the features, now
  std::uint32_t scans = 0;
  std::uint32_t sweep_waves = 0;       // 0: the topology was held in memory
  std::uint64_t graph_bytes_read = 0;  // by the waves' sweeps
};

// Calls `show_plan` once the cost is known and before anything is written.
PrepareResult prepare(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool,
                      const std::function<void(const PreparationCost&)>& show_plan);

// Throws Error(config) unless the options can be prepared: fanouts, batch size, name.
void check_request(const PrepareRequest& request);

}  // namespace gneiss
