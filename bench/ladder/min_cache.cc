#include "bench/ladder/min_cache.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/stopwatch.h"

namespace gneiss::ladder {
namespace {

// For each position and row of its list the position of the row's next use, in a scratch file.
class NextUses {
 public:
  NextUses(const RowLists& lists, std::uint64_t positions, std::uint64_t node_count,
           const std::filesystem::path& folder)
      : file_(File::create_anonymous(folder)) {
    offsets_.push_back(0);
    for (std::uint64_t position = 0; position < positions; ++position) {
      offsets_.push_back(offsets_.back() + lists.row_count(position) * sizeof(std::uint32_t));
    }
    // Backwards; once more around than asked for, so that every row of the last lists has a next use.
    std::vector<std::uint32_t> next_of(node_count, never);
    std::vector<std::uint32_t> uses;
    RowList list;
    for (std::uint64_t position = positions + lists.batch_count(); position-- > 0;) {
      lists.read(position, list);
      uses.resize(list.size());
      for (std::size_t i = 0; i < list.size(); ++i) {
        std::uint32_t& next = next_of[to_index(list.nodes[i])];
        uses[i] = next;
        next = static_cast<std::uint32_t>(position);
      }
      if (position >= positions) continue;
      file_.write_at(offsets_[position], std::as_bytes(std::span(uses)));
      file_.write_back(offsets_[position], offsets_[position + 1] - offsets_[position]);
    }
  }

  void read(std::uint64_t position, std::vector<std::uint32_t>& uses) const {
    uses.resize((offsets_[position + 1] - offsets_[position]) / sizeof(std::uint32_t));
    file_.read_at(offsets_[position], std::as_writable_bytes(std::span(uses)));
    file_.drop_cache(offsets_[position], offsets_[position + 1] - offsets_[position]);
  }

  static constexpr std::uint32_t never = 0xFFFFFFFFU;

 private:
  File file_;
  std::vector<std::uint64_t> offsets_;
};

// The cache as training will see it, one batch after the other.
class Simulation {
 public:
  Simulation(std::uint64_t node_count, std::uint64_t capacity, std::uint64_t cycle)
      : capacity_(capacity),
        slot_of_(node_count, uncached),
        node_of_(capacity, uncached),
        next_use_(capacity),
        with_next_use_(cycle + 2) {
    for (std::uint64_t slot = capacity; slot-- > 0;) free_.push_back(static_cast<std::uint32_t>(slot));
  }

  void step(std::uint64_t position, const RowList& list, const std::vector<std::uint32_t>& next_uses,
            CachePlan& plan) {
    plan.slots.resize(list.size());
    plan.admissions.clear();
    plan.hits = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::uint32_t slot = slot_of_[to_index(list.nodes[i])];
      plan.slots[i] = slot;
      if (slot == uncached) continue;
      ++plan.hits;
      next_use_[slot] = next_uses[i];
    }
    choose(position, next_uses, plan);
    evict(position);
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (plan.slots[i] != uncached || !stays(position, next_uses[i])) continue;
      const std::uint32_t slot = free_.back();
      free_.pop_back();
      node_of_[slot] = to_index(list.nodes[i]);
      next_use_[slot] = next_uses[i];
      slot_of_[node_of_[slot]] = slot;
      plan.admissions.push_back({.index = static_cast<std::uint32_t>(i), .slot = slot});
    }
  }

 private:
  // Batches until the next use, at most one more than a cycle, which stands for never.
  std::size_t distance(std::uint64_t position, std::uint32_t next_use) const {
    const std::size_t farthest = with_next_use_.size() - 1;
    return next_use == NextUses::never ? farthest : std::min<std::uint64_t>(next_use - position, farthest);
  }

  // The threshold: all nearer candidates stay, and `quota_` of those just there.
  void choose(std::uint64_t position, const std::vector<std::uint32_t>& next_uses, const CachePlan& plan) {
    std::ranges::fill(with_next_use_, 0);
    for (std::uint64_t slot = 0; slot < capacity_; ++slot) {
      if (node_of_[slot] != uncached) ++with_next_use_[distance(position, next_use_[slot])];
    }
    for (std::size_t i = 0; i < next_uses.size(); ++i) {
      if (plan.slots[i] == uncached) ++with_next_use_[distance(position, next_uses[i])];
    }
    quota_ = capacity_;
    threshold_ = 0;
    while (threshold_ + 1 < with_next_use_.size() && with_next_use_[threshold_] <= quota_) {
      quota_ -= with_next_use_[threshold_++];
    }
  }

  // Cached rows come first, so that none is replaced by one no better.
  bool stays(std::uint64_t position, std::uint32_t next_use) {
    const std::size_t away = distance(position, next_use);
    if (away < threshold_) return true;
    if (away > threshold_ || quota_ == 0) return false;
    --quota_;
    return true;
  }

  void evict(std::uint64_t position) {
    for (std::uint64_t slot = 0; slot < capacity_; ++slot) {
      if (node_of_[slot] == uncached || stays(position, next_use_[slot])) continue;
      slot_of_[node_of_[slot]] = uncached;
      node_of_[slot] = uncached;
      free_.push_back(static_cast<std::uint32_t>(slot));
    }
  }

  std::uint64_t capacity_;
  std::vector<std::uint32_t> slot_of_;        // [nodes]
  std::vector<std::uint32_t> node_of_;        // [capacity]
  std::vector<std::uint32_t> next_use_;       // [capacity] of what lies there
  std::vector<std::uint64_t> with_next_use_;  // candidates by distance
  std::vector<std::uint32_t> free_;
  std::size_t threshold_ = 0;
  std::uint64_t quota_ = 0;
};

}  // namespace

MinCache::MinCache(const RowLists& lists, std::uint64_t positions, std::uint64_t node_count,
                   std::uint64_t capacity_rows, const std::filesystem::path& scratch_folder)
    : plans_(File::create_anonymous(scratch_folder)) {
  const Stopwatch watch;
  const NextUses next_uses(lists, positions, node_count, scratch_folder);
  Simulation simulation(node_count, std::min(capacity_rows, node_count), lists.batch_count());
  RowList list;
  std::vector<std::uint32_t> uses;
  CachePlan plan;
  for (std::uint64_t position = 0; position < positions; ++position) {
    lists.read(position, list);
    next_uses.read(position, uses);
    simulation.step(position, list, uses, plan);
    store(plan);
  }
  planning_seconds_ = watch.seconds();
}

void MinCache::store(const CachePlan& plan) {
  const std::uint64_t begin = plans_bytes_;
  stored_.push_back(
      {.offset = begin, .rows = plan.slots.size(), .admissions = plan.admissions.size(), .hits = plan.hits});
  plans_.write_at(begin, std::as_bytes(std::span(plan.slots)));
  plans_bytes_ += plan.slots.size() * sizeof(std::uint32_t);
  plans_.write_at(plans_bytes_, std::as_bytes(std::span(plan.admissions)));
  plans_bytes_ += plan.admissions.size() * sizeof(Admission);
  plans_.write_back(begin, plans_bytes_ - begin);
}

void MinCache::plan(std::uint64_t position, const RowList& list, CachePlan& plan) {
  GNEISS_ASSERT(position < stored_.size() && stored_[position].rows == list.size());
  const StoredPlan& stored = stored_[position];
  plan.slots.resize(stored.rows);
  plan.admissions.resize(stored.admissions);
  plan.hits = stored.hits;
  plans_.read_at(stored.offset, std::as_writable_bytes(std::span(plan.slots)));
  const std::uint64_t admissions_at = stored.offset + stored.rows * sizeof(std::uint32_t);
  plans_.read_at(admissions_at, std::as_writable_bytes(std::span(plan.admissions)));
  plans_.drop_cache(stored.offset, admissions_at + stored.admissions * sizeof(Admission) - stored.offset);
}

}  // namespace gneiss::ladder
