// Some batches sampled together, hop by hop, while graph.csc passes by once a hop.
//
// How:     each batch puts the hop's destinations in node order. A sweep over csc_indptr tells where their
//          neighbors stand, a sweep over csc_indices brings these past, and each batch takes its own with the
//          random numbers of NeighborSampler. Then it numbers its sources in the order drawn.
// Same:    the batches are NeighborSampler's, bit by bit.
// Threads: batches are worked on in parallel, a batch by one thread at a time.
// Memory:  every array has its exact size, known before it is taken: batches that would go beyond the budget
//          leave the wave before their neighbors are read, and are for the next one.
// Errors:  config (one batch alone is beyond the budget), corruption, io, cancelled.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "sampler/batches.h"
#include "sampler/graph_sweep.h"
#include "sampler/neighbor_draw.h"
#include "sampler/neighbor_sampler.h"
#include "storage/base/parallel.h"
#include "storage/base/progress.h"

namespace gneiss {

// What a thread keeps from wave to wave.
struct SweepWorker {
  NeighborDraw draw;
  std::vector<LocalIdTable> tables;  // by hop: those of the first ones stay small, and quick to clear
};

class SweepWave {
 public:
  using Store = std::function<void(std::size_t, const SampledBatch&)>;
  struct Needs {
    std::uint64_t batch_bytes = 0;   // at most, of one batch
    std::uint64_t worker_bytes = 0;  // at most, while a thread numbers a batch
  };

  // Batches [first, first + count) of the schedule. All is borrowed; `workers` is one a thread of the pool.
  SweepWave(GraphSweep& sweep, const BatchSchedule& schedule, std::span<SweepWorker> workers,
            ThreadPool& pool, std::uint64_t memory_bytes, std::size_t first, std::size_t count);

  // Samples all hops and hands each batch that stayed, with its index in the schedule, to `store`, from any
  // thread. Returns how many stayed: the first ones, at least one.
  //   name  of the wave, for the progress
  std::size_t run(const std::string& name, const Store& store);
  const Needs& needs() const noexcept { return needs_; }

 private:
  struct EdgeRange {  // in csc_indices
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  // A neighbor that may have one of the k smallest variates of a list that has not wholly passed.
  struct Candidate {
    double variate;
    std::uint64_t position;
    std::uint32_t node;
    auto operator<=>(const Candidate&) const = default;
  };
  struct Item {
    std::size_t index = 0;  // in the schedule
    SampledBatch batch;
    // Of the hop at work:
    std::vector<std::uint64_t> frontier;  // node << 32 | destination, ascending
    std::vector<EdgeRange> ranges;        // of the frontier's nodes
    std::size_t next = 0;                 // in the frontier: the first that is not done with
    std::uint64_t cut_bytes = 0;          // that the two below may take
    // Of the one destination whose neighbors lie on both sides of a piece's end:
    std::vector<std::uint64_t> cut_positions;
    std::vector<Candidate> cut_candidates;
  };
  // A part of csc_indices: edges[0] is edge number `first`.
  struct Passing {
    std::uint64_t first = 0;
    std::span<const NodeId> edges;
    std::uint64_t end() const noexcept { return first + edges.size(); }
  };

  std::size_t hop_count() const noexcept { return workers_.front().draw.options().fanouts.size(); }
  bool is_last_hop() const noexcept { return hop_ + 1 == hop_count(); }
  SampledBlock& block_of(Item& item) const { return item.batch.blocks[hop_count() - 1 - hop_]; }
  NeighborDraw& draw_for(const Item& item, std::size_t worker) const;

  // work(item, worker); on this thread alone where `bytes` of work are too few to share.
  void for_each(std::uint64_t bytes, const std::function<void(Item&, std::size_t)>& work);
  void keep_within_budget(const std::function<Needs(const Item&)>& needs_more);
  void sort_frontiers();
  void find_ranges(Progress& progress);
  void place_offsets(Item& item, std::uint64_t first, std::span<const std::uint64_t> offsets) const;
  void count_neighbors();
  void take_neighbors(Progress& progress);
  void take(Item& item, NeighborDraw& draw, const Passing& passing) const;
  void take_cut(Item& item, NeighborDraw& draw, const Passing& passing) const;
  void put(SampledBlock& block, std::uint64_t edge, NodeId source, std::uint64_t position) const;
  void number_sources(Item& item, LocalIdTable& table) const;
  void finish_hop(const Store* store);

  GraphSweep& sweep_;
  std::span<SweepWorker> workers_;
  ThreadPool& pool_;
  const std::uint64_t memory_bytes_;
  const bool edge_positions_;
  std::vector<Item> items_;
  std::uint32_t hop_ = 0;
  Needs needs_;
};

}  // namespace gneiss
