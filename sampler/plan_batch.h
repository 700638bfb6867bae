// Orders a sampled batch's input nodes by tier and expresses its blocks in that order.
//
// Why: with [gpu | cpu | disk] order each tier is one contiguous range of local ids, and a segment's rows
//      stand in node order, as the packer's scan meets them.
#pragma once

#include <vector>

#include "sampler/neighbor_sampler.h"
#include "storage/format/batch_frame.h"
#include "storage/format/node_labels.h"
#include "storage/pack/node_places.h"
#include "storage/pack/shared_layout.h"
#include "storage/pack/tier_planner.h"

namespace gneiss {

// Owns what a planned frame borrows; reused from batch to batch.
class BatchPlanner {
 public:
  //   shared  how batches share the rows that they read from disk; null where each has its own
  BatchPlanner(const TierPlan& plan, const SharedLayout* shared, const NodeLabels& labels)
      : plan_(plan), shared_(shared), labels_(labels) {}

  // The frame to store for `batch`, which is number `index` of the pool; valid until the next call. Changes
  // batch.blocks[0]'s indices.
  const BatchFrame& plan(std::size_t index, SampledBatch& batch);
  std::span<const NodeId> input_nodes() const noexcept { return input_nodes_; }  // in local order

 private:
  void order_inputs(std::size_t index, const SampledBatch& batch);

  void order_shared_inputs(std::size_t index);
  void add_input(std::size_t i);
  void list_ranges();
  void look_up_labels(const SampledBatch& batch);

  const TierPlan& plan_;
  const SharedLayout* shared_;
  const NodeLabels& labels_;
  std::vector<std::uint64_t> order_;  // node << 32 | sampled local id
  std::vector<std::uint32_t> new_local_;
  std::vector<NodeId> ascending_;
  std::vector<Placement> placements_;  // of ascending_
  std::vector<NodeId> input_nodes_;
  std::vector<std::uint32_t> gpu_slots_;
  std::vector<std::uint32_t> cpu_slots_;
  std::vector<std::uint32_t> admitted_rows_;
  std::vector<std::uint32_t> admitted_slots_;
  std::vector<NodeId> shared_nodes_;         // in the order they are read
  std::vector<NodePlace> shared_places_;     // the same by node
  std::vector<std::uint32_t> shared_order_;  // where each of them stands among ascending_
  std::vector<PageRun> page_runs_;
  std::vector<std::uint32_t> dst_in_src_;
  std::vector<std::int32_t> targets_;
  std::vector<std::uint8_t> label_rows_;
  std::vector<PlanRange> ranges_;
  BatchFrame frame_;
};

}  // namespace gneiss
