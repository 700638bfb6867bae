// `lru`: the least recently used row goes.
//
// Source: GraphBolt's CPU feature cache with policy="lru" (dgl.graphbolt.cpu_cached_feature, graphbolt/src/
//         cache_policy.h). As there, rows that the batch in work uses are locked: they are not replaced by
//         rows of the same batch, so that at most capacity - hits of the missing ones enter, the last of the
//         list.
// Memory: 4 bytes a node, 12 a slot; not counted against the cache's size, to its advantage.
#pragma once

#include "bench/ladder/cache_policy.h"

namespace gneiss::ladder {

class LruCache final : public CachePolicy {
 public:
  LruCache(std::uint64_t node_count, std::uint64_t capacity_rows);

  std::string_view name() const override { return "lru"; }
  bool knows_the_future() const override { return false; }
  void plan(std::uint64_t position, const RowList& list, CachePlan& plan) override;

 private:
  struct Entry {  // of a doubly linked list through the slots
    std::uint32_t newer = 0;
    std::uint32_t older = 0;
    std::uint32_t node = 0;
  };
  void unlink(std::uint32_t slot);
  void make_newest(std::uint32_t slot);

  std::vector<std::uint32_t> slot_of_;  // [nodes]
  std::vector<Entry> entries_;          // [capacity + 1]; the last is the list's head: newest and oldest
  std::uint32_t capacity_;
  std::uint32_t used_ = 0;
};

}  // namespace gneiss::ladder
