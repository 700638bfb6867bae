// `ginex`: Belady's MIN over the batches known ahead; the changes of the cache are computed batch by batch
// before training and stored, so that training only follows them.
//
// Source: Ginex (Park, Min, Lee, VLDB 2022), section 4, and its code (lib/cache.py, pass_1_and_2 and
//         pass_3): the candidates after each batch are the rows cached and the batch's own; those with the
//         nearest next use stay, as many as there is room for, found by a threshold on the next use; a row
//         may be left out at once. Ginex knows one superbatch and starts each with a cache filled in a pass
//         of its own. Here the pool's whole cycle is known and the cache carries over, which never hits
//         less.
// Memory: while planning 8 bytes a node and 8 a slot; afterwards a plan is read from a scratch file, as Ginex
//         does (trace/*_update_*.pth), of 4 bytes a row and 8 an admission.
// Errors: Error(io): no room for the scratch file.
#pragma once

#include <filesystem>

#include "bench/ladder/cache_policy.h"
#include "storage/io/file.h"

namespace gneiss::ladder {

class MinCache final : public CachePolicy {
 public:
  // Plans positions [0, positions) of `lists` (ascending or not: as they will be asked for), next uses known
  // all around the pool.
  MinCache(const RowLists& lists, std::uint64_t positions, std::uint64_t node_count,
           std::uint64_t capacity_rows, const std::filesystem::path& scratch_folder);

  std::string_view name() const override { return "min"; }
  bool knows_the_future() const override { return true; }
  void plan(std::uint64_t position, const RowList& list, CachePlan& plan) override;
  std::uint64_t disk_bytes() const override { return plans_bytes_; }
  double planning_seconds() const override { return planning_seconds_; }

 private:
  struct StoredPlan {
    std::uint64_t offset = 0;
    std::uint64_t rows = 0;
    std::uint64_t admissions = 0;
    std::uint64_t hits = 0;
  };
  void store(const CachePlan& plan);

  File plans_;
  std::uint64_t plans_bytes_ = 0;
  std::vector<StoredPlan> stored_;  // by position
  double planning_seconds_ = 0;
};

}  // namespace gneiss::ladder
