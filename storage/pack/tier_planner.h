// Access counts and a budget → which rows live in the cpu tier.
//
// `static`: the rows that the pool's training batches read most often, for good. With counts known exactly,
//           no other fixed set of that size saves more bytes over the pool.
// `belady`: rows come and go, see belady_planner.h.
// Memory: 4 bytes a node for the counts, 4 for the slots, 4 while choosing.
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

// What the cpu tier holds, and where each batch's input rows come from.
struct TierPlan {
  std::uint32_t slot_count = 0;   // of the cpu tier: all that it ever holds at once
  std::vector<NodeId> cpu_nodes;  // ascending; the row in slot i when training begins is cpu_nodes[i]'s
  // [N] the slot of each row that stays where it is, or no_slot. `static`: of every cached row; `belady`: of
  // those that evaluation finds there whenever an epoch has ended.
  std::vector<std::uint32_t> slot_of;
  // Of `belady` only: where the training batches' rows come from, and where the rows move when the pool
  // begins anew: the row in slot i goes to slot cycle_moves[i]. A permutation, [slot_count].
  std::optional<PlacementLists> placements;
  std::vector<std::uint32_t> cycle_moves;

  // The placements of a batch's input nodes, given from position `first` of its ascending list on.
  void place(std::size_t batch, std::uint64_t first, std::span<const NodeId> nodes,
             std::span<Placement> placements_out) const;
};

// Caches at most `cpu_row_count` rows, by count, ties to the smaller id; rows never read are not cached.
TierPlan plan_static_tiers(std::span<const std::uint32_t> access_counts, std::uint64_t cpu_row_count);

struct BatchRows {
  std::uint32_t cpu_rows = 0;
  std::uint32_t disk_rows = 0;
  std::uint32_t admitted_rows = 0;  // of the disk rows
};
// How many rows each batch reads from each tier, exactly.
std::vector<BatchRows> count_rows(const InputLists& lists, const TierPlan& plan);

}  // namespace gneiss
