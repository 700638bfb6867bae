#include "sampler/plan_batch.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

namespace {

Tier tier_of(Placement placement) {
  return placement.is_on_gpu() ? Tier::gpu : placement.is_cached() ? Tier::cpu : Tier::disk;
}

}  // namespace

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
  gpu_slots_.clear();
  cpu_slots_.clear();
  admitted_rows_.clear();
  admitted_slots_.clear();
  page_runs_.clear();
  for (const Tier tier : {Tier::gpu, Tier::cpu, Tier::disk}) {
    if (tier == Tier::disk && shared_ != nullptr) {
      order_shared_inputs(index);
      break;
    }
    for (std::size_t i = 0; i < order_.size(); ++i) {
      if (tier_of(placements_[i]) == tier) add_input(i);
    }
  }
}

// The next local id is that of the i-th of the ascending nodes.
void BatchPlanner::add_input(std::size_t i) {
  const Placement placement = placements_[i];
  const auto local = static_cast<std::uint32_t>(input_nodes_.size());
  new_local_[static_cast<std::uint32_t>(order_[i])] = local;
  input_nodes_.push_back(ascending_[i]);
  if (placement.is_on_gpu()) {
    gpu_slots_.push_back(placement.slot());
  } else if (placement.is_cached()) {
    cpu_slots_.push_back(placement.slot());
  } else if (placement.is_admitted()) {
    admitted_rows_.push_back(local);
    admitted_slots_.push_back(placement.slot());
  }
}

// Rows that batches share come in the order in which they are read.
void BatchPlanner::order_shared_inputs(std::size_t index) {
  shared_nodes_.resize(shared_->batch_nodes.size(index));
  shared_->batch_nodes.read(index, 0, shared_nodes_);
  page_runs_.resize(shared_->batch_runs.size(index));
  shared_->batch_runs.read(index, 0, page_runs_);
  // Where each stands among the ascending nodes: met by walking both in node order.
  shared_places_.clear();
  for (const NodeId node : shared_nodes_) {
    shared_places_.push_back({node, static_cast<std::uint32_t>(shared_places_.size())});
  }
  if (!ascending_.empty()) sort_by_node(shared_places_, std::uint64_t{to_index(ascending_.back())} + 1);
  shared_order_.resize(shared_places_.size());
  std::size_t at = 0;
  for (const NodePlace& each : shared_places_) {
    while (at < ascending_.size() && ascending_[at] < each.node) ++at;
    GNEISS_ASSERT(at < ascending_.size() && ascending_[at] == each.node);
    shared_order_[each.place] = static_cast<std::uint32_t>(at);
  }
  for (const std::uint32_t i : shared_order_) add_input(i);
  GNEISS_ASSERT(input_nodes_.size() == ascending_.size());
}

void BatchPlanner::look_up_labels(const SampledBatch& batch) {
  targets_.clear();
  label_rows_.clear();
  for (const NodeId seed : std::span(batch.nodes).first(batch.seed_count)) {
    if (labels_.columns == 0) {
      targets_.push_back(labels_.classes[to_index(seed)]);
      continue;
    }
    const auto row = labels_.row(seed);
    label_rows_.insert(label_rows_.end(), row.begin(), row.end());
  }
}

// Of the gpu tier where there is one: training finds the same ranges in every batch.
void BatchPlanner::list_ranges() {
  ranges_.clear();
  std::uint32_t first = 0;
  const auto add = [&](Tier tier, std::size_t count) {
    ranges_.push_back({.store = 0,
                       .tier = tier,
                       .first = first,
                       .count = static_cast<std::uint32_t>(count),
                       .reserved = 0});
    first += ranges_.back().count;
  };
  if (!plan_.gpu_nodes.empty()) add(Tier::gpu, gpu_slots_.size());
  add(Tier::cpu, cpu_slots_.size());
  add(shared_ != nullptr ? Tier::page : Tier::disk, input_nodes_.size() - first);
}

const BatchFrame& BatchPlanner::plan(std::size_t index, SampledBatch& batch) {
  GNEISS_ASSERT(!batch.blocks.empty());
  order_inputs(index, batch);
  SampledBlock& first = batch.blocks.front();
  for (std::uint32_t& source : first.indices) source = new_local_[source];
  dst_in_src_.assign(new_local_.begin(), new_local_.begin() + first.dst_count);
  look_up_labels(batch);

  list_ranges();
  const std::span nodes(batch.nodes);
  frame_.seeds = nodes.first(batch.seed_count);
  frame_.targets = targets_;
  frame_.target_seeds = {};
  frame_.label_rows = label_rows_;
  frame_.label_columns = labels_.columns;
  frame_.hidden_nodes = nodes.first(first.dst_count);
  frame_.plan = ranges_;
  frame_.gpu_slots = gpu_slots_;
  frame_.cpu_slots = cpu_slots_;
  frame_.admitted_rows = admitted_rows_;
  frame_.admitted_slots = admitted_slots_;
  frame_.page_runs = page_runs_;
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
