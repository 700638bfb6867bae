// Neighbor sampling: seeds → blocks, hop by hop; uniform, or by LABOR (sampler/labor.h).
//
// Random:  each draw is a function of (seed, split, epoch, batch, hop, node): threads change nothing.
// Threads: a sampler belongs to one thread; make one per thread over the same topology.
// Memory:  a hash table of the batch's nodes, kept from batch to batch.
// Source:  GraphSAGE (Hamilton et al., NeurIPS 2017); a uniform subset without replacement by Floyd's
//          algorithm (Bentley and Floyd, CACM 1987) for small fanouts, by selection sampling (Knuth,
//          TAOCP 2, algorithm S) for large ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampler/labor.h"
#include "sampler/topology.h"
#include "storage/base/random.h"
#include "storage/format/preparation.h"

namespace gneiss {

struct SamplerOptions {
  std::vector<std::int32_t> fanouts;  // fanouts[0] is drawn for the seeds, as PyG's num_neighbors; -1: all
  bool replace = false;         // draw with replacement: exactly `fanout` draws where there is a neighbor
  bool edge_positions = false;  // record where in csc_indices each sampled edge stands
  std::uint64_t seed = 0;
  SamplerKind kind = SamplerKind::neighbor;
  LaborOptions labor{};
};

// One hop. Source local ids number the nodes in order of first appearance, destinations first.
struct SampledBlock {
  std::uint32_t dst_count = 0;
  std::uint32_t src_count = 0;
  std::vector<std::uint32_t> indptr;   // [dst_count + 1]
  std::vector<std::uint32_t> indices;  // [edges] in the order drawn
  std::vector<std::uint64_t> edge_positions;
};

struct SampledBatch {
  BatchKey key;
  std::vector<NodeId> nodes;  // local order: seeds, then nodes by first appearance, hop by hop
  std::vector<SampledBlock>
      blocks;  // blocks[0] is next to the input, blocks.back() has the seeds as destinations
  std::uint32_t seed_count = 0;
};

// Node id → local id, by open addressing with linear probing.
class LocalIdTable {
 public:
  void clear(std::size_t expected);
  // The node's local id, or `next` if it is new (then it is stored).
  std::uint32_t find_or_insert(NodeId node, std::uint32_t next);
  void prefetch(NodeId node) const noexcept { __builtin_prefetch(&entries_[first_slot(node)]); }

 private:
  std::size_t first_slot(NodeId node) const noexcept { return mix64(to_index(node)) & mask_; }
  void grow();
  static constexpr std::uint64_t empty = ~std::uint64_t{0};
  std::vector<std::uint64_t> entries_;  // node << 32 | local
  std::size_t mask_ = 0;
  std::size_t count_ = 0;
};

class NeighborSampler {
 public:
  NeighborSampler(Topology topology, SamplerOptions options);

  // Samples all hops for `seeds` (distinct) into `batch`, whose memory is reused.
  void sample(const BatchKey& key, std::span<const NodeId> seeds, SampledBatch& batch);

 private:
  void sample_hop(const BatchKey& key, std::uint32_t hop, SampledBatch& batch, SampledBlock& block);
  void prefetch_ahead(const SampledBatch& batch, std::uint32_t dst, std::uint32_t dst_count) const;
  void draw_positions(std::uint64_t degree, std::int32_t fanout, std::uint64_t key);

  Topology topology_;
  SamplerOptions options_;
  LocalIdTable table_;
  std::vector<std::pair<double, std::uint64_t>> labor_scratch_;
  std::vector<std::uint64_t> positions_;  // of one destination's drawn neighbors, relative to its first
};

}  // namespace gneiss
