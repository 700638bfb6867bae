#include "sampler/plan_batch.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

void BatchPlanner::order_inputs(std::size_t index, const SampledBatch& batch) {
  order_.clear();
  for (std::uint32_t local = 0; local < batch.nodes.size(); ++local) {
    order_.push_back(std::uint64_t{to_index(batch.nodes[local])} << 32 | local);
  }
  std::ranges::sort(order_);
  ascending_.clear();
  for (const std::uint64_t entry : order_) ascending_.push_back(static_cast<NodeId>(entry >> 32));
  placements_.resize(ascending_.size());
  plan_.place(index, 0, ascending_, placements_);

  new_local_.resize(batch.nodes.size());
  input_nodes_.clear();
  cpu_slots_.clear();
  admitted_rows_.clear();
  admitted_slots_.clear();
  for (const bool cached : {true, false}) {
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const Placement placement = placements_[i];
      if (placement.is_cached() != cached) continue;
      const auto local = static_cast<std::uint32_t>(input_nodes_.size());
      new_local_[static_cast<std::uint32_t>(order_[i])] = local;
      input_nodes_.push_back(ascending_[i]);
      if (cached) cpu_slots_.push_back(placement.slot());
      if (!placement.is_admitted()) continue;
      admitted_rows_.push_back(local);
      admitted_slots_.push_back(placement.slot());
    }
  }
}

const BatchFrame& BatchPlanner::plan(std::size_t index, SampledBatch& batch) {
  GNEISS_ASSERT(!batch.blocks.empty());
  order_inputs(index, batch);
  SampledBlock& first = batch.blocks.front();
  for (std::uint32_t& source : first.indices) source = new_local_[source];
  dst_in_src_.assign(new_local_.begin(), new_local_.begin() + first.dst_count);
  targets_.clear();
  for (std::uint32_t i = 0; i < batch.seed_count; ++i) targets_.push_back(labels_[to_index(batch.nodes[i])]);

  const auto cached = static_cast<std::uint32_t>(cpu_slots_.size());
  const auto inputs = static_cast<std::uint32_t>(input_nodes_.size());
  ranges_ = {{.store = 0, .tier = Tier::cpu, .first = 0, .count = cached, .reserved = 0},
             {.store = 0, .tier = Tier::disk, .first = cached, .count = inputs - cached, .reserved = 0}};
  const std::span nodes(batch.nodes);
  frame_.seeds = nodes.first(batch.seed_count);
  frame_.targets = targets_;
  frame_.target_seeds = {};
  frame_.hidden_nodes = nodes.first(first.dst_count);
  frame_.plan = ranges_;
  frame_.cpu_slots = cpu_slots_;
  frame_.admitted_rows = admitted_rows_;
  frame_.admitted_slots = admitted_slots_;
  frame_.blocks.clear();
  for (const SampledBlock& block : batch.blocks) {
    frame_.blocks.push_back({.dst_count = block.dst_count,
                             .src_count = block.src_count,
                             .indptr = block.indptr,
                             .indices = block.indices,
                             .dst_in_src = {},
                             .edge_positions = block.edge_positions});
  }
  frame_.blocks.front().dst_in_src = dst_in_src_;
  return frame_;
}

}  // namespace gneiss
