// Access counts and a budget → which rows live in the cpu tier.
//
// `static`: the rows that the pool's training batches read most often, for good. With counts known exactly,
// no other fixed set of that size saves more bytes over the pool.
// Memory: 4 bytes a node for the counts, 4 for the slots, 4 while choosing.
// Source: the static caches of DiskGNN (SIGMOD 2025) and GNNLab (EuroSys 2022, presampling).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/base/ids.h"
#include "storage/pack/input_lists.h"

namespace gneiss {

inline constexpr std::uint32_t no_slot = 0xFFFFFFFFU;

struct TierPlan {
  std::vector<NodeId> cpu_nodes;       // ascending; the row in slot i of the tier is cpu_nodes[i]'s
  std::vector<std::uint32_t> slot_of;  // [N]: the slot, or no_slot
};

// Caches at most `cpu_row_count` rows, by count, ties to the smaller id; rows never read are not cached.
TierPlan plan_static_tiers(std::span<const std::uint32_t> access_counts, std::uint64_t cpu_row_count);

struct BatchRows {
  std::uint32_t cpu_rows = 0;
  std::uint32_t disk_rows = 0;
};
// How many rows each batch reads from each tier, exactly.
std::vector<BatchRows> count_rows(const InputLists& lists, const TierPlan& plan);

}  // namespace gneiss
