#include "bench/ladder/lru_cache.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss::ladder {

LruCache::LruCache(std::uint64_t node_count, std::uint64_t capacity_rows)
    : slot_of_(node_count, uncached),
      capacity_(static_cast<std::uint32_t>(std::min(capacity_rows, node_count))) {
  GNEISS_ASSERT(node_count < uncached);
  entries_.resize(std::size_t{capacity_} + 1);
  entries_[capacity_] = {.newer = capacity_, .older = capacity_};
}

void LruCache::unlink(std::uint32_t slot) {
  const Entry entry = entries_[slot];
  entries_[entry.newer].older = entry.older;
  entries_[entry.older].newer = entry.newer;
}

// The head's `older` is the newest slot, its `newer` the oldest.
void LruCache::make_newest(std::uint32_t slot) {
  const std::uint32_t newest = entries_[capacity_].older;
  entries_[slot].newer = capacity_;
  entries_[slot].older = newest;
  entries_[newest].newer = slot;
  entries_[capacity_].older = slot;
}

void LruCache::plan(std::uint64_t /*position*/, const RowList& list, CachePlan& plan) {
  plan.slots.resize(list.size());
  plan.admissions.clear();
  plan.hits = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::uint32_t slot = slot_of_[to_index(list.nodes[i])];
    plan.slots[i] = slot;
    if (slot == uncached) continue;
    ++plan.hits;
    unlink(slot);
    make_newest(slot);
  }
  const std::uint64_t missing = list.size() - plan.hits;
  const std::uint64_t room = capacity_ - plan.hits;
  std::uint64_t left_out = missing > room ? missing - room : 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (plan.slots[i] != uncached) continue;
    if (left_out > 0) {
      --left_out;
      continue;
    }
    std::uint32_t slot = used_;
    if (used_ < capacity_) {
      ++used_;
    } else {
      slot = entries_[capacity_].newer;
      unlink(slot);
      slot_of_[entries_[slot].node] = uncached;
    }
    entries_[slot].node = to_index(list.nodes[i]);
    slot_of_[entries_[slot].node] = slot;
    make_newest(slot);
    plan.admissions.push_back({.index = static_cast<std::uint32_t>(i), .slot = slot});
  }
}

}  // namespace gneiss::ladder
