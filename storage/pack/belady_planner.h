// Known batches and a number of slots → which rows the cpu tier holds at every batch: Belady's MIN.
//
// Why:     sampling is done, so the future is known: a row is kept exactly as long as its next use is nearer
//          than that of the others. It reads less than any fixed set of rows, without a look-up at training.
// How:     after a batch the tier keeps, of what it held and of what the batch read, the rows whose next use
//          is nearest (bypass: a row that comes back late is not admitted). Decisions are made batch by
//          batch, for a batch's rows are all used at once. Rows enter between two batches, when the first is
//          computed and the second has not begun: a slot that a batch read last can be filled from that
//          same batch's segment, and no slot waits for batches in flight.
// Cycle:   epochs go round the pool, so the last batch is followed by the first. What the tier holds after
//          one round from an empty tier is what every later round begins with and is made to end with: rows
//          carried over the end are kept from their last use on.
// Gpu:     rows of the gpu tier stay there, and are no matter here.
// Order:   the plan holds for the pool's order of training batches and no other.
// Memory:  8 bytes a node and 20 a slot; the uses of each row are streamed from an anonymous file of 4 bytes
//          an access.
// Source:  Belady, "A study of replacement algorithms for a virtual-storage computer" (1966), at the
//          granularity of batches as in Ginex (VLDB 2022); the closed cycle and the immediate reuse are ours.
#pragma once

#include <cstdint>
#include <filesystem>

#include "storage/pack/tier_planner.h"

namespace gneiss {

struct BeladyTask {
  const InputLists* lists = nullptr;  // the training batches come first, epoch by epoch
  std::vector<NodeId> gpu_nodes{};    // ascending: rows of the gpu tier
  std::uint64_t node_count = 0;
  std::uint32_t epochs = 0;  // of the pool
  std::uint32_t batches_per_epoch = 0;
  std::uint32_t slot_count = 0;          // at most tier_slots_max
  std::filesystem::path scratch_folder;  // for anonymous files
};

// Errors: io (no space for the temporary files), cancelled.
TierPlan plan_belady_tiers(const BeladyTask& task);

}  // namespace gneiss
