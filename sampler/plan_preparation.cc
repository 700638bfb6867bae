#include "sampler/plan_preparation.h"

#include <algorithm>

#include "sampler/batch_forecast.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/pack/belady_planner.h"
#include "storage/pack/group_choice.h"

namespace gneiss {
namespace {

std::uint64_t count_reads(std::span<const Extent> extents) {
  std::uint64_t reads = extents.empty() ? 0 : 1;  // the trailer's
  for (const Extent& extent : extents) reads += divide_up(extent.bytes, 1U << 20);
  return reads;
}

}  // namespace

void PreparationPlanner::choose_residency() {
  const std::uint64_t row_bytes = dataset_.info().row_bytes();
  const std::uint64_t accessed = accessed_rows();
  const std::uint64_t gpu_rows = std::min<std::uint64_t>(
      {options_.gpu_cache_bytes / row_bytes, accessed, std::uint64_t{tier_slots_max}});
  const std::uint64_t budget_rows = options_.cpu_cache_bytes / row_bytes;
  const TierBudget fixed_budget{.gpu_rows = gpu_rows, .cpu_rows = budget_rows};
  // Where every row that is read fits, or none, there is nothing to exchange, and no order to be kept.
  const bool can_exchange = budget_rows > 0 && budget_rows < accessed - gpu_rows;
  residency_ = can_exchange ? options_.residency : Residency::fixed;
  if (residency_ != Residency::belady) {
    plan_ = plan_static_tiers(counts_.accesses, fixed_budget);
    rows_ = count_rows(lists_, plan_);
  }
  if (residency_ == Residency::fixed) return;
  const double fixed_rows = residency_ == Residency::automatic ? disk_rows_per_epoch() : 0;
  plan_ = {};  // its memory is the next one's
  std::vector<NodeId> gpu_nodes;
  if (gpu_rows > 0) gpu_nodes = plan_static_tiers(counts_.accesses, {.gpu_rows = gpu_rows}).gpu_nodes;
  plan_ = plan_belady_tiers(
      {.lists = &lists_,
       .gpu_nodes = std::move(gpu_nodes),
       .node_count = dataset_.info().node_count,
       .epochs = options_.sample_epochs,
       .batches_per_epoch = schedule_.train_batches_per_epoch(),
       .slot_count = static_cast<std::uint32_t>(std::min<std::uint64_t>(budget_rows, tier_slots_max)),
       .scratch_folder = dataset_.folder()});
  rows_ = count_rows(lists_, plan_);
  if (residency_ == Residency::belady) return;
  // A fixed set of rows lets every epoch have an order of its own: it is given up for a gain, not for a
  // tie.
  constexpr double least_gain = 0.02;
  residency_ = Residency::belady;
  if (disk_rows_per_epoch() <= fixed_rows * (1 - least_gain)) return;
  residency_ = Residency::fixed;
  plan_ = {};
  plan_ = plan_static_tiers(counts_.accesses, fixed_budget);
  rows_ = count_rows(lists_, plan_);
}

// Lets batches share rows where their own segments would take more than the budget, in groups as small as it
// allows.
void PreparationPlanner::fit_disk_budget(std::uint64_t disk_budget_bytes, std::uint64_t read_gap_bytes) {
  shared_.reset();
  if (disk_budget_bytes == 0) return;
  const std::uint64_t row_bytes = dataset_.info().row_bytes();
  std::uint64_t own = 0;
  for (const BatchRows& rows : rows_) own += segment_bytes_for(rows.disk_rows, row_bytes);
  const std::uint64_t others = samples_bytes_at_most() + index_bytes() + tier_bytes();
  if (own + others <= disk_budget_bytes) return;
  const std::vector<BatchKey> keys = batch_keys();
  const std::uint64_t nodes = dataset_.info().node_count;
  GroupChoice choice(lists_, plan_, keys, row_bytes, nodes);
  std::size_t size = choice.smallest_within(disk_budget_bytes - std::min(disk_budget_bytes, others));
  for (;;) {
    shared_.emplace(lay_out_shared(lists_, plan_, group_batches(keys, size, group_batches_max), row_bytes,
                                   nodes, read_gap_bytes, dataset_.folder()));
    const std::uint64_t total = shared_->bytes() + samples_bytes_at_most() + index_bytes() + tier_bytes();
    if (total <= disk_budget_bytes || size == choice.largest()) return;
    // Trailers and the runs of each frame are known once it is laid out: room for them is what regions lack.
    const std::uint64_t regions = choice.region_bytes(size);
    const std::uint64_t room = regions - std::min(regions, total - disk_budget_bytes);
    size = std::max(size + 1, choice.smallest_within(room));
  }
}

PreparationCost PreparationPlanner::cost() const {
  PreparationCost cost;
  const std::uint64_t row_bytes = dataset_.info().row_bytes();
  const double epochs = options_.sample_epochs;
  cost.train_batches = schedule_.train_batches_per_epoch();
  cost.row_bytes = row_bytes;
  cost.node_count = dataset_.info().node_count;
  for (std::size_t i = 0; i < schedule_.size(); ++i) {
    const std::uint64_t segment =
        shared_ ? shared_->read_bytes(i) : segment_bytes_for(rows_[i].disk_rows, row_bytes);
    cost.segment_bytes += segment;
    const std::uint64_t reads = shared_ ? count_reads(shared_->extents_of(i)) : divide_up(segment, 1U << 20);
    cost.largest_segment_bytes = std::max(cost.largest_segment_bytes, segment);
    BatchEntry entry = counts_.entries[i];
    if (shared_) {
      // As samples_bytes_at_most() has them, in the frame.
      const std::uint64_t runs = shared_->batch_runs.size(i) * sizeof(PageRun);
      entry.page_rows = rows_[i].disk_rows;
      entry.frame_raw_bytes += static_cast<std::uint32_t>(runs);
      entry.frame_bytes += static_cast<std::uint32_t>(runs + runs / 256);
      cost.shared_extents += shared_->extents_of(i).size();
    }
    cost.largest.take(entry);
    if (schedule_.key(i).split != Split::train) {
      ++cost.evaluation_batches;
      continue;
    }
    cost.admitted_rows += rows_[i].admitted_rows;
    cost.gpu_rows += rows_[i].gpu_rows / epochs;
    cost.cpu_rows += rows_[i].cpu_rows / epochs;
    cost.disk_rows += rows_[i].disk_rows / epochs;
    cost.disk_bytes += static_cast<double>(segment) / epochs;
    cost.disk_reads += static_cast<double>(reads) / epochs;
    const std::uint64_t pieces = shared_ ? shared_->extents_of(i).size() + 1 : 1;
    cost.disk_pieces += segment == 0 ? 0 : static_cast<double>(pieces) / epochs;
    cost.sampled_edges += counts_.entries[i].edge_count / epochs;
  }
  cost.input_rows = cost.gpu_rows + cost.cpu_rows + cost.disk_rows;
  if (shared_) {
    cost.segment_bytes = shared_->bytes();
    cost.group_batches = shared_->groups.front().batch_count;
    cost.group_count = shared_->groups.size();
  }
  cost.residency = residency_;
  cost.admitted_rows /= epochs;
  cost.gpu_cached_rows = plan_.gpu_nodes.size();
  cost.gpu_tier_bytes = cost.gpu_cached_rows * row_bytes;
  cost.cached_rows = plan_.slot_count;
  cost.cpu_tier_bytes = cost.cached_rows * row_bytes;
  cost.samples_bytes_at_most = samples_bytes_at_most();
  cost.index_bytes = index_bytes();
  cost.largest_split = gneiss::largest_split(counts_.entries);
  cost.accessed_rows = accessed_rows();
  cost.free_bytes = free_bytes(dataset_.folder());
  return cost;
}

std::vector<BatchKey> PreparationPlanner::batch_keys() const {
  std::vector<BatchKey> keys;
  keys.reserve(schedule_.size());
  for (std::size_t i = 0; i < schedule_.size(); ++i) keys.push_back(schedule_.key(i));
  return keys;
}

std::vector<std::uint64_t> PreparationPlanner::checksums() const {
  const auto of = [](const auto& values) { return checksum(std::as_bytes(std::span(values))); };
  std::vector<std::uint64_t> all{static_cast<std::uint64_t>(residency_),
                                 plan_.slot_count,
                                 of(plan_.gpu_nodes),
                                 of(plan_.cpu_nodes),
                                 of(plan_.placement_of),
                                 of(plan_.cycle_moves),
                                 of(rows_)};
  if (shared_) {
    all.insert(all.end(), {of(shared_->region_offsets), of(shared_->extents), of(shared_->first_extents)});
  }
  return all;
}

std::uint64_t PreparationPlanner::samples_bytes_at_most() const {
  std::uint64_t bytes = sizeof(BatchEntry) * schedule_.size() + 3 * file_section_alignment;  // header, index
  for (const BatchEntry& entry : counts_.entries) bytes += pool_bytes_at_most(entry);
  for (std::size_t i = 0; shared_ && i < schedule_.size(); ++i) {
    // Zstandard may add 1 in 256, and a section its header.
    const std::uint64_t runs = shared_->batch_runs.size(i) * sizeof(PageRun);
    bytes += runs + runs / 256 + 2 * frame_section_alignment;
  }
  return bytes;
}

std::uint64_t PreparationPlanner::tier_bytes() const {
  return (plan_.gpu_nodes.size() + plan_.slot_count) * dataset_.info().row_bytes();
}

// In pack.bin, cpu.bin and gpu.bin beside the rows: entries, extents and their counts; nodes and moves;
// headers, padding.
std::uint64_t PreparationPlanner::index_bytes() const {
  const std::uint64_t extents = shared_ ? shared_->extents.size() * sizeof(Extent) : 0;
  return schedule_.size() * (sizeof(SegmentEntry) + sizeof(std::uint32_t)) + extents +
         sizeof(std::uint32_t) * (plan_.gpu_nodes.size() + 2 * std::uint64_t{plan_.slot_count}) +
         (plan_.gpu_nodes.empty() ? 16 : 20) * file_section_alignment;
}

std::uint64_t PreparationPlanner::accessed_rows() const {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(counts_.accesses, [](std::uint32_t count) { return count > 0; }));
}

// What an epoch reads, its validation included, over the pool's epochs on average.
double PreparationPlanner::disk_rows_per_epoch() const {
  double train = 0;
  double valid = 0;
  for (std::size_t i = 0; i < schedule_.size(); ++i) {
    if (schedule_.key(i).split == Split::train) train += rows_[i].disk_rows;
    if (schedule_.key(i).split == Split::valid) valid += rows_[i].disk_rows;
  }
  return train / options_.sample_epochs + valid;
}

}  // namespace gneiss
