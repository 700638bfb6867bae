#include "storage/pack/tier_planner.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

void TierPlan::place(std::size_t batch, std::uint64_t first, std::span<const NodeId> nodes,
                     std::span<Placement> placements_out) const {
  GNEISS_ASSERT(nodes.size() == placements_out.size());
  if (placements && batch < placements->list_count()) {
    placements->read(batch, first, placements_out);
    return;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) placements_out[i] = placement_of[to_index(nodes[i])];
}

TierPlan plan_static_tiers(std::span<const std::uint32_t> access_counts, const TierBudget& budget) {
  std::vector<NodeId> nodes;
  nodes.reserve(static_cast<std::size_t>(
      std::ranges::count_if(access_counts, [](std::uint32_t count) { return count > 0; })));
  for (std::uint64_t node = 0; node < access_counts.size(); ++node) {
    if (access_counts[node] > 0) nodes.push_back(static_cast<NodeId>(node));
  }
  // Moves the `count` hottest to the front.
  const auto choose = [&](std::uint64_t count) {
    if (count >= nodes.size()) return;
    std::ranges::nth_element(nodes, nodes.begin() + static_cast<std::ptrdiff_t>(count),
                             [&](NodeId a, NodeId b) {
                               const std::uint32_t count_a = access_counts[to_index(a)];
                               const std::uint32_t count_b = access_counts[to_index(b)];
                               return count_a != count_b ? count_a > count_b : a < b;
                             });
  };
  const std::uint64_t gpu_rows = std::min<std::uint64_t>({budget.gpu_rows, tier_slots_max, nodes.size()});
  const std::uint64_t cpu_rows =
      std::min<std::uint64_t>({budget.cpu_rows, tier_slots_max, nodes.size() - gpu_rows});
  choose(gpu_rows + cpu_rows);
  nodes.resize(gpu_rows + cpu_rows);
  choose(gpu_rows);

  TierPlan plan;
  const auto cpu_begin = nodes.begin() + static_cast<std::ptrdiff_t>(gpu_rows);
  plan.gpu_nodes.assign(nodes.begin(), cpu_begin);
  nodes.erase(nodes.begin(), cpu_begin);
  nodes.shrink_to_fit();
  plan.cpu_nodes = std::move(nodes);
  std::ranges::sort(plan.gpu_nodes);
  std::ranges::sort(plan.cpu_nodes);
  plan.placement_of.assign(access_counts.size(), Placement::on_disk());
  for (std::uint32_t slot = 0; slot < plan.gpu_nodes.size(); ++slot) {
    plan.placement_of[to_index(plan.gpu_nodes[slot])] = Placement::on_gpu(slot);
  }
  plan.slot_count = static_cast<std::uint32_t>(plan.cpu_nodes.size());
  for (std::uint32_t slot = 0; slot < plan.slot_count; ++slot) {
    plan.placement_of[to_index(plan.cpu_nodes[slot])] = Placement::in_slot(slot);
  }
  return plan;
}

std::vector<BatchRows> count_rows(const InputLists& lists, const TierPlan& plan) {
  std::vector<BatchRows> rows(lists.batch_count());
  std::vector<NodeId> window(64U << 10);
  std::vector<Placement> placements(window.size());
  for (std::size_t batch = 0; batch < rows.size(); ++batch) {
    for (std::uint64_t first = 0; first < lists.node_count(batch);) {
      const std::size_t count = lists.read(batch, first, window);
      const auto placed = std::span(placements).first(count);
      plan.place(batch, first, std::span(window).first(count), placed);
      for (const Placement placement : placed) {
        ++(placement.is_on_gpu()   ? rows[batch].gpu_rows
           : placement.is_cached() ? rows[batch].cpu_rows
                                   : rows[batch].disk_rows);
        if (placement.is_admitted()) ++rows[batch].admitted_rows;
      }
      first += count;
    }
  }
  return rows;
}

}  // namespace gneiss
