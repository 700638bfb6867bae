// Which rows of a batch lie in a row cache, and which ones enter it afterwards: at the granularity of
// batches.
//
// Why: a batch's look-ups come all at once, before its reads; its rows enter the cache when they have landed.
//      GraphBolt works so (query, read the missing, replace:
//      python/dgl/graphbolt/impl/cpu_cached_feature.py), and Ginex too (gather, then cache.update:
//      run_ginex.py).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bench/ladder/row_list.h"

namespace gneiss::ladder {

inline constexpr std::uint32_t uncached = 0xFFFFFFFFU;

// Row i of the list goes into this slot of the cache, over what is there, once the batch is whole.
struct Admission {
  std::uint32_t index = 0;
  std::uint32_t slot = 0;
};

struct CachePlan {
  std::vector<std::uint32_t> slots;  // for each row of the list: where in the cache it lies, or uncached
  std::vector<Admission> admissions;
  std::uint64_t hits = 0;
};

class CachePolicy {
 public:
  CachePolicy() = default;
  CachePolicy(const CachePolicy&) = delete;
  CachePolicy& operator=(const CachePolicy&) = delete;
  virtual ~CachePolicy() = default;

  virtual std::string_view name() const = 0;
  // True: plans are made ahead of training, and fetching one is not on the clock.
  virtual bool knows_the_future() const = 0;
  // Called once for each position, in order from 0.
  virtual void plan(std::uint64_t position, const RowList& list, CachePlan& plan) = 0;
  virtual std::uint64_t disk_bytes() const { return 0; }
  virtual double planning_seconds() const { return 0; }  // ahead of training
};

}  // namespace gneiss::ladder
