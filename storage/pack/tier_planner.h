// Access counts and budgets → which rows live in the gpu tier, and which in the cpu tier.
//
// gpu:      the rows that the pool's training batches read most often, for good. With counts known exactly,
//           no other fixed set of that size saves more bytes over the pool.
// cpu:      `static`: the next ones, for good. `belady`: rows come and go, see belady_planner.h.
// Memory: 4 bytes a node for the counts, 4 for the placements, 4 while choosing.
// Source: the static caches of DiskGNN (SIGMOD 2025) and GNNLab (EuroSys 2022, presampling).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "storage/base/ids.h"
#include "storage/pack/input_lists.h"
#include "storage/pack/placement.h"

namespace gneiss {

// What the tiers in memory hold, and where each batch's input rows come from.
struct TierPlan {
  std::vector<NodeId> gpu_nodes;  // ascending; the row in slot i of the gpu tier is gpu_nodes[i]'s, for good
  std::uint32_t slot_count = 0;   // of the cpu tier: all that it ever holds at once
  std::vector<NodeId> cpu_nodes;  // ascending; the row in slot i when training begins is cpu_nodes[i]'s
  // [N] where each row lies that stays there; else, on the drive. In the cpu tier, `static`: every row of it;
  // `belady`: those that evaluation finds there whenever an epoch has ended.
  std::vector<Placement> placement_of;
  // Of `belady` only: where the training batches' rows come from, and where the rows move when the pool
  // begins anew: the row in slot i goes to slot cycle_moves[i]. A permutation, [slot_count].
  std::optional<PlacementLists> placements;
  std::vector<std::uint32_t> cycle_moves;

  // The placements of a batch's input nodes, given from position `first` of its ascending list on.
  void place(std::size_t batch, std::uint64_t first, std::span<const NodeId> nodes,
             std::span<Placement> placements_out) const;
};

struct TierBudget {  // rows; a tier holds at most tier_slots_max
  std::uint64_t gpu_rows = 0;
  std::uint64_t cpu_rows = 0;
};
// The gpu tier first, by count, ties to the smaller id; rows never read are not cached.
TierPlan plan_static_tiers(std::span<const std::uint32_t> access_counts, const TierBudget& budget);

struct BatchRows {
  std::uint32_t gpu_rows = 0;
  std::uint32_t cpu_rows = 0;
  std::uint32_t disk_rows = 0;
  std::uint32_t admitted_rows = 0;  // of the disk rows
};
// How many rows each batch reads from each tier, exactly.
std::vector<BatchRows> count_rows(const InputLists& lists, const TierPlan& plan);

}  // namespace gneiss
