#include "bench/ladder/cached_rows.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "bench/ladder/copy_rows.h"
#include "storage/base/error.h"

namespace gneiss::ladder {

CachedRows::CachedRows(const RowFile& file, std::unique_ptr<CachePolicy> policy,
                       const CachedRowsOptions& options)
    : row_bytes_(file.row_bytes),
      options_(options),
      policy_(std::move(policy)),
      cache_(std::min(options.cache_rows, file.row_count) * file.row_bytes),
      pool_(options.threads) {
  GNEISS_ASSERT(options.readers > 0);
  for (std::size_t i = 0; i < options.readers; ++i)
    readers_.push_back(std::make_unique<RowReader>(file, options.reader));
  missing_.reserve(options.batch_rows_max);
}

void CachedRows::before(std::uint64_t position, const RowList& list) {
  if (policy_->knows_the_future()) policy_->plan(position, list, plan_);
}

void CachedRows::read_missing(std::span<std::byte> target) {
  // Equal shares of the rows, each a range of the file.
  const std::size_t share = divide_up(missing_.size(), readers_.size());
  const auto rows_of = [&](std::size_t reader) {
    const std::size_t first = std::min(reader * share, missing_.size());
    return std::span(missing_).subspan(first, std::min(share, missing_.size() - first));
  };
  std::vector<std::exception_ptr> failures(readers_.size());
  const auto read = [&](std::size_t reader) {
    try {
      readers_[reader]->read(rows_of(reader), target);
    } catch (...) {
      failures[reader] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t reader = 1; reader < readers_.size(); ++reader) threads.emplace_back(read, reader);
    read(0);
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

void CachedRows::deliver(std::uint64_t position, const RowList& list, std::span<std::byte> target) {
  if (!policy_->knows_the_future()) policy_->plan(position, list, plan_);
  missing_.clear();
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (plan_.slots[i] == uncached) missing_.push_back({.node = list.nodes[i], .target = list.targets[i]});
  }
  double hit_seconds = 0;
  {
    std::jthread copier;
    if (plan_.hits > 0) {
      copier = std::jthread([&] {
        const Stopwatch watch;
        copy_row_range(0, list.size(), row_bytes_, [&](std::size_t i) {
          const std::uint32_t slot = plan_.slots[i];
          return slot == uncached ? RowCopy{}
                                  : RowCopy{.from = cache_.data() + slot * row_bytes_,
                                            .to = target.data() + list.targets[i] * row_bytes_};
        });
        hit_seconds = watch.seconds();
      });
    }
    read_missing(target);
  }
  cost_.copy_seconds += hit_seconds;
  cost_.copy_seconds += copy_rows(pool_, plan_.admissions.size(), row_bytes_, [&](std::size_t i) {
    const Admission& admission = plan_.admissions[i];
    return RowCopy{.from = target.data() + list.targets[admission.index] * row_bytes_,
                   .to = cache_.data() + admission.slot * row_bytes_};
  });
  cost_.rows += list.size();
  cost_.rows_from_cache += plan_.hits;
}

DeliveryCost CachedRows::cost() const {
  DeliveryCost cost = cost_;
  for (const auto& reader : readers_) {
    cost.reads += reader->cost().reads;
    cost.bytes += reader->cost().bytes;
    cost.copy_seconds += reader->cost().copy_seconds;
  }
  return cost;
}

nlohmann::json CachedRows::describe() const {
  const RowReaderOptions& reader = options_.reader;
  return {{"policy", policy_->name()},
          {"cache_rows", row_bytes_ == 0 ? 0 : cache_.size() / row_bytes_},
          {"engine", readers_.front()->engine_name()},
          {"direct", readers_.front()->is_direct()},
          {"alignment_bytes", readers_.front()->alignment()},
          {"readers", options_.readers},
          {"queue_depth", reader.queue_depth},
          {"gap_bytes", reader.coalesce.gap_bytes},
          {"read_bytes_max", reader.coalesce.read_bytes_max},
          {"planning_seconds", policy_->planning_seconds()}};
}

}  // namespace gneiss::ladder
