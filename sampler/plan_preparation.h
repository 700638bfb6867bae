// What is known of all batches, and the budgets → which rows come from where, and what that costs.
//
// Why:     everything is decided, and can be told, before anything is written.
// Memory:  8 bytes a node; with `belady` residency 8 more while it plans; with a disk budget 8 more
//          and 16 for each row of the largest group of batches, and 12 for each row of a batch.
#pragma once

#include <optional>
#include <vector>

#include "sampler/batches.h"
#include "storage/format/preparation.h"
#include "storage/pack/shared_layout.h"

namespace gneiss {

// What the first pass learns.
struct BatchCounts {
  std::vector<std::uint32_t> accesses;  // per node, over the pool's training batches
  std::vector<BatchEntry> entries;      // of each batch, as forecast_batch() has it
};

// What a preparation will read and cost, exact, from counts alone.
struct PreparationCost {
  std::uint64_t train_batches = 0;  // per epoch
  std::uint64_t evaluation_batches = 0;
  // Per epoch of training, averaged over the pool's epochs:
  double input_rows = 0;
  double gpu_rows = 0;
  double cpu_rows = 0;
  double disk_rows = 0;
  double disk_bytes = 0;   // segments with trailers and padding
  double disk_reads = 0;   // of at most 1 MiB each
  double disk_pieces = 0;  // that lie apart: within one, reads follow one another
  double sampled_edges = 0;
  double admitted_rows = 0;  // of the disk rows, copied into the cpu tier
  Residency residency = Residency::fixed;
  // On the drive:
  std::uint64_t segment_bytes = 0;  // of all segments, or of what batches share
  std::uint64_t group_batches = 1;  // consecutive batches that share their rows; in the largest group
  std::uint64_t group_count = 0;    // groups of batches, evaluation's too; 0: every batch has its own rows
  std::uint64_t gpu_tier_bytes = 0;
  std::uint64_t cpu_tier_bytes = 0;
  std::uint64_t samples_bytes_at_most = 0;  // before compression
  std::uint64_t index_bytes = 0;            // of segments, extents and the tiers' slots
  std::uint64_t free_bytes = 0;
  // What is left to do once this is known:
  double sampling_seconds = 0;        // the second pass, by some batches made as it makes them
  double packing_seconds = 0;         // see packing_speed.h; 0: the drive was not measured
  std::uint32_t packing_scans = 0;    // of the features
  std::uint64_t reordered_bytes = 0;  // shared rows put in order on the drive: read and written once more
  std::uint64_t packing_scratch_bytes = 0;  // on the drive while packing, beyond what is then there
  // In memory at training, per slot in flight and for good:
  std::uint64_t largest_segment_bytes = 0;
  PoolMaxima largest{};              // bytes at most
  std::uint64_t largest_split = 0;   // seeds
  std::uint64_t shared_extents = 0;  // of all batches, where they share rows
  std::uint64_t row_bytes = 0;
  std::uint64_t node_count = 0;       // of the dataset
  std::uint64_t gpu_cached_rows = 0;  // held by the gpu tier
  std::uint64_t cached_rows = 0;      // by the cpu tier, at once
  std::uint64_t accessed_rows = 0;    // distinct nodes that training reads

  std::uint64_t disk_space_bytes() const noexcept {  // of all files, at most
    return segment_bytes + gpu_tier_bytes + cpu_tier_bytes + samples_bytes_at_most + index_bytes;
  }
  std::uint64_t packing_read_bytes() const noexcept {
    return packing_scans * node_count * row_bytes + reordered_bytes;
  }
  std::uint64_t packing_write_bytes() const noexcept {
    return segment_bytes + gpu_tier_bytes + cpu_tier_bytes + reordered_bytes;
  }
};

class PreparationPlanner {
 public:
  // Borrows all of them. `lists` are the input nodes of the schedule's batches.
  PreparationPlanner(const Dataset& dataset, const PreparationOptions& options, const BatchSchedule& schedule,
                     const InputLists& lists, const BatchCounts& counts)
      : dataset_(dataset), options_(options), schedule_(schedule), lists_(lists), counts_(counts) {}

  void choose_residency();  // which rows the tiers in memory hold, and when
  // Whether batches share rows on disk; after choose_residency(). 0: as much as it takes.
  //   read_gap_bytes  see shared_layout.h
  void fit_disk_budget(std::uint64_t disk_budget_bytes, std::uint64_t read_gap_bytes);
  PreparationCost cost() const;

  const TierPlan& tiers() const noexcept { return plan_; }
  Residency residency() const noexcept { return residency_; }  // never automatic
  std::span<const BatchRows> rows() const noexcept { return rows_; }
  const SharedLayout* shared() const noexcept { return shared_ ? &*shared_ : nullptr; }  // null: own segments
  std::vector<BatchKey> batch_keys() const;
  std::vector<std::uint64_t> checksums() const;  // of the plan: the same numbers, the same files

 private:
  std::uint64_t samples_bytes_at_most() const;
  std::uint64_t index_bytes() const;
  std::uint64_t tier_bytes() const;  // of the rows in both images
  std::uint64_t accessed_rows() const;
  double disk_rows_per_epoch() const;

  const Dataset& dataset_;
  const PreparationOptions& options_;
  const BatchSchedule& schedule_;
  const InputLists& lists_;
  const BatchCounts& counts_;
  TierPlan plan_;
  Residency residency_ = Residency::fixed;  // of plan_
  std::vector<BatchRows> rows_;
  std::optional<SharedLayout> shared_;
};

}  // namespace gneiss
