#include "sampler/neighbor_sampler.h"

#include <algorithm>
#include <bit>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss {

void LocalIdTable::clear(std::size_t expected) {
  const std::size_t capacity = std::bit_ceil(std::max<std::size_t>(64, expected * 2));
  if (entries_.size() < capacity) entries_.resize(capacity);
  std::ranges::fill(entries_, empty);
  mask_ = entries_.size() - 1;
  count_ = 0;
}

void LocalIdTable::grow() {
  std::vector<std::uint64_t> old(entries_.size() * 2, empty);
  old.swap(entries_);
  mask_ = entries_.size() - 1;
  for (const std::uint64_t entry : old) {
    if (entry == empty) continue;
    std::size_t at = mix64(entry >> 32) & mask_;
    while (entries_[at] != empty) at = (at + 1) & mask_;
    entries_[at] = entry;
  }
}

std::uint32_t LocalIdTable::find_or_insert(NodeId node, std::uint32_t next) {
  const std::uint64_t id = to_index(node);
  std::size_t at = first_slot(node);
  while (entries_[at] != empty) {
    if (entries_[at] >> 32 == id) return static_cast<std::uint32_t>(entries_[at]);
    at = (at + 1) & mask_;
  }
  // The last local id of the last node would read as `empty`; no batch has 2^32 - 1 nodes.
  entries_[at] = id << 32 | next;
  if (++count_ * 2 > entries_.size()) grow();
  return next;
}

// Offsets and neighbors of one destination are two dependent misses of the cache, each about 100 ns: they are
// asked for so far ahead that the work in between, some 20 ns a destination, covers them.
void NeighborSampler::prefetch_ahead(const SampledBatch& batch, std::uint32_t dst,
                                     std::uint32_t dst_count) const {
  constexpr std::uint32_t near = 8;
  constexpr std::uint32_t far = 2 * near;
  if (dst + far < dst_count) __builtin_prefetch(&topology_.indptr[to_index(batch.nodes[dst + far])]);
  if (dst + near < dst_count) {
    const auto neighbors = topology_.neighbors(batch.nodes[dst + near]);
    // Two lines: a list of average length is drawn from all over, a longer one misses anyway.
    __builtin_prefetch(neighbors.data());
    if (neighbors.size() > 16) __builtin_prefetch(neighbors.data() + 16);
  }
}

void check_counts(const BatchKey& key, std::uint32_t hop, std::uint64_t edges, std::uint64_t nodes) {
  if (edges <= 0xFFFFFFFFU && nodes < 0xFFFFFFFFU) return;
  fail(Kind::config, "{} has more than 2^32 edges in hop {}; use a smaller batch size or fanout",
       to_string(key), hop + 1);
}

void NeighborSampler::sample_hop(const BatchKey& key, std::uint32_t hop, SampledBatch& batch,
                                 SampledBlock& block) {
  block.dst_count = static_cast<std::uint32_t>(batch.nodes.size());
  block.indptr.assign(1, 0);
  block.indices.clear();
  block.edge_positions.clear();
  draw_.begin_hop(key, hop);
  for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
    prefetch_ahead(batch, dst, block.dst_count);
    const NodeId node = batch.nodes[dst];
    const auto neighbors = topology_.neighbors(node);
    const auto positions = draw_.draw(node, neighbors);
    for (const std::uint64_t position : positions) table_.prefetch(neighbors[position]);
    for (const std::uint64_t position : positions) {
      const NodeId source = neighbors[position];
      const auto next = static_cast<std::uint32_t>(batch.nodes.size());
      const std::uint32_t local = table_.find_or_insert(source, next);
      if (local == next) batch.nodes.push_back(source);
      block.indices.push_back(local);
      if (draw_.options().edge_positions) {
        block.edge_positions.push_back(topology_.indptr[to_index(node)] + position);
      }
    }
    check_counts(key, hop, block.indices.size(), batch.nodes.size());
    block.indptr.push_back(static_cast<std::uint32_t>(block.indices.size()));
  }
  block.src_count = static_cast<std::uint32_t>(batch.nodes.size());
}

void NeighborSampler::sample(const BatchKey& key, std::span<const NodeId> seeds, SampledBatch& batch) {
  batch.key = key;
  batch.nodes.assign(seeds.begin(), seeds.end());
  batch.seed_count = static_cast<std::uint32_t>(seeds.size());
  const std::size_t hops = draw_.options().fanouts.size();
  batch.blocks.resize(hops);
  table_.clear(seeds.size());
  for (std::uint32_t i = 0; i < seeds.size(); ++i) {
    GNEISS_ASSERT(table_.find_or_insert(seeds[i], i) == i);
  }
  for (std::uint32_t hop = 0; hop < hops; ++hop) {
    sample_hop(key, hop, batch, batch.blocks[hops - 1 - hop]);
  }
}

}  // namespace gneiss
