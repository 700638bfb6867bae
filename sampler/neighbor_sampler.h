// Neighbor sampling over a graph in memory: seeds → blocks, hop by hop. Who is drawn:
// sampler/neighbor_draw.h.
//
// Threads: a sampler belongs to one thread; make one per thread over the same topology.
// Memory:  a hash table of the batch's nodes, kept from batch to batch.
// Source:  GraphSAGE (Hamilton et al., NeurIPS 2017).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampler/neighbor_draw.h"
#include "sampler/topology.h"
#include "storage/base/random.h"
#include "storage/format/batch_key.h"

namespace gneiss {

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

// Throws Error(config) when a batch outgrows 32-bit counts.
void check_counts(const BatchKey& key, std::uint32_t hop, std::uint64_t edges, std::uint64_t nodes);

class NeighborSampler {
 public:
  NeighborSampler(Topology topology, SamplerOptions options)
      : topology_(topology), draw_(std::move(options)) {}

  // Samples all hops for `seeds` (distinct) into `batch`, whose memory is reused.
  void sample(const BatchKey& key, std::span<const NodeId> seeds, SampledBatch& batch);

 private:
  void sample_hop(const BatchKey& key, std::uint32_t hop, SampledBatch& batch, SampledBlock& block);
  void prefetch_ahead(const SampledBatch& batch, std::uint32_t dst, std::uint32_t dst_count) const;

  Topology topology_;
  NeighborDraw draw_;
  LocalIdTable table_;
};

}  // namespace gneiss
