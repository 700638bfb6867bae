// The second pass's work on one batch: sampled again, planned this time, compressed.
//
// Threads: make() runs concurrently for distinct workers.
// Errors:  those of sampling and compressing; corruption, where what was counted is not what is sampled.
#pragma once

#include <algorithm>
#include <vector>

#include "sampler/batch_sampler.h"
#include "sampler/plan_batch.h"
#include "sampler/plan_preparation.h"
#include "storage/base/error.h"
#include "storage/pack/input_lists.h"

namespace gneiss {

class PlannedSampling {
 public:
  //   taken_up  so many of `lists` are an earlier run's: the plan was made from them
  PlannedSampling(const Dataset& dataset, const PreparationPlanner& planner, const InputLists& lists,
                  std::size_t taken_up, std::size_t thread_count)
      : labels_(dataset.read_labels()),
        lists_(lists),
        taken_up_(taken_up),
        scratch_(thread_count),
        compressors_(thread_count),
        planners_(thread_count, BatchPlanner(planner.tiers(), planner.shared(), labels_)) {}

  void make(BatchSampler& sampler, std::size_t index, std::size_t worker, CompressedBatch& compressed) {
    SampledBatch& batch = scratch_[worker];
    sampler.sample(index, worker, batch);
    if (index < taken_up_) compare_with_list(index, batch);
    const BatchFrame& frame = planners_[worker].plan(index, batch);
    compressed = compressors_[worker].compress(batch.key, frame, planners_[worker].input_nodes());
  }

 private:
  // A list that was made up, its checksum too, must not meet a plan of another batch.
  void compare_with_list(std::size_t index, const SampledBatch& batch) const {
    std::vector<NodeId> sampled(batch.nodes);
    std::ranges::sort(sampled);
    std::vector<NodeId> listed(lists_.node_count(index));
    lists_.read(index, 0, listed);
    if (sampled == listed) return;
    fail(Kind::corruption, "what was counted of {} is not what is sampled; prepare again",
         to_string(batch.key));
  }

  const NodeLabels labels_;
  const InputLists& lists_;
  const std::size_t taken_up_;
  std::vector<SampledBatch> scratch_;
  std::vector<BatchCompressor> compressors_;
  std::vector<BatchPlanner> planners_;
};

}  // namespace gneiss
