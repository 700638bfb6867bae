// `lru` and `ginex`: a row cache in memory, and for the rows it lacks random reads of the feature file.
//
// Threads: the caller reads; one more copies cached rows meanwhile; with readers > 1 each has a ring of its
//          own, as GraphBolt's reader threads have. What enters the cache is copied once the batch is
//          whole.
// Memory:  the cache's rows, and what the policy and the readers state.
#pragma once

#include <memory>

#include "bench/ladder/cache_policy.h"
#include "bench/ladder/row_reader.h"
#include "bench/ladder/row_source.h"
#include "storage/base/parallel.h"

namespace gneiss::ladder {

struct CachedRowsOptions {
  std::uint64_t cache_rows = 0;
  std::uint64_t batch_rows_max = 0;
  std::size_t readers = 1;
  std::size_t threads = 2;  // that copy
  RowReaderOptions reader;
};

class CachedRows final : public RowSource {
 public:
  CachedRows(const RowFile& file, std::unique_ptr<CachePolicy> policy, const CachedRowsOptions& options);

  void before(std::uint64_t position, const RowList& list) override;
  // Precondition: the list ascends.
  void deliver(std::uint64_t position, const RowList& list, std::span<std::byte> target) override;
  DeliveryCost cost() const override;
  std::uint64_t disk_bytes() const override { return policy_->disk_bytes(); }
  nlohmann::json describe() const override;

 private:
  void read_missing(std::span<std::byte> target);

  const std::uint64_t row_bytes_;
  const CachedRowsOptions options_;
  std::unique_ptr<CachePolicy> policy_;
  std::vector<std::unique_ptr<RowReader>> readers_;
  AlignedBuffer cache_;
  ThreadPool pool_;
  CachePlan plan_;
  std::vector<RowRead> missing_;
  DeliveryCost cost_;
};

}  // namespace gneiss::ladder
