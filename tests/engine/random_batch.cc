#include "tests/engine/random_batch.h"

#include <algorithm>
#include <unordered_map>

#include "storage/base/dtype.h"
#include "storage/base/random.h"

namespace gneiss::test {

RandomBatch::RandomBatch(const RandomBatchOptions& options) {
  RandomStream draws(mix_key(options.seed, 1));
  std::vector<std::uint32_t> nodes;  // of the block at hand: destinations, then further sources
  std::unordered_map<std::uint32_t, std::uint32_t> local;
  const auto local_of = [&](std::uint32_t node) {
    const auto [entry, is_new] = local.try_emplace(node, static_cast<std::uint32_t>(nodes.size()));
    if (is_new) nodes.push_back(node);
    return entry->second;
  };
  while (nodes.size() < options.seed_count)
    local_of(static_cast<std::uint32_t>(draws.below(options.node_count)));
  for (std::uint32_t i = 0; i < options.seed_count; ++i) {
    const auto label = static_cast<std::int32_t>(draws.below(options.class_count + 1));
    targets_.push_back(label - 1);  // no_label among them
  }
  blocks_.resize(options.fanouts.size());
  for (std::size_t b = blocks_.size(); b-- > 0;) {
    Block& block = blocks_[b];
    block.dst_count = static_cast<std::uint32_t>(nodes.size());
    if (b == 0) {
      for (const std::uint32_t node : nodes) hidden_nodes_.push_back(NodeId{node});
    }
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      const std::uint64_t degree = draws.below(options.fanouts[b] + 1);  // 0 among them
      for (std::uint64_t edge = 0; edge < degree; ++edge) {
        block.indices.push_back(local_of(static_cast<std::uint32_t>(draws.below(options.node_count))));
      }
      block.indptr.push_back(static_cast<std::uint32_t>(block.indices.size()));
    }
    block.transposed_indptr.resize(nodes.size() + 1);
    block.transposed_indices.resize(block.indices.size());
    block.transposed_edges.resize(block.indices.size());
  }
  make_tiers(options, nodes);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    Block& block = blocks_[b];
    BlockView view{.dst_count = block.dst_count,
                   .src_count = static_cast<std::uint32_t>(block.transposed_indptr.size() - 1),
                   .indptr = block.indptr,
                   .indices = block.indices};
    if (b == 0) view.dst_in_src = dst_in_src_;
    if (b > 0) transpose(view, block.transposed_indptr, block.transposed_indices, block.transposed_edges);
    check_block(view, "random batch");
    block_views_.push_back(view);
  }
  view_.blocks = block_views_;
  view_.hidden_nodes = hidden_nodes_;
  view_.targets = targets_;
}

// Gives each source a tier at random, orders them by tier, and renumbers block 0.
void RandomBatch::make_tiers(const RandomBatchOptions& options, const std::vector<std::uint32_t>& sources) {
  RandomStream draws(mix_key(options.tier_seed, 2));
  std::vector<std::vector<std::uint32_t>> members(tier_range_count_max);
  for (std::uint32_t s = 0; s < sources.size(); ++s) {
    const auto tier = draws.below(options.tier_count);
    members[tier_range_count_max - 1 - tier].push_back(s);
  }
  std::vector<std::uint32_t> new_local(sources.size());
  std::uint32_t next = 0;
  view_.input = TieredRows(options.dtype, options.columns);
  const std::size_t row_bytes = view_.input.row_bytes();
  tiers_.resize(tier_range_count_max);
  for (std::size_t t = 0; t < members.size(); ++t) {
    Tier& tier = tiers_[t];
    const bool has_slots = t < 2;              // as the gpu and cpu tiers have
    const std::size_t shift = t == 3 ? 3 : 0;  // rows need not be aligned
    const std::size_t capacity = members[t].size() * (has_slots ? 2 : 1);
    tier.bytes.resize(shift + capacity * row_bytes);
    for (std::uint32_t i = 0; i < members[t].size(); ++i) {
      new_local[members[t][i]] = next++;
      // Slots of the second half, in reverse: a slot is neither the row's place nor ascending.
      const auto slot = has_slots ? static_cast<std::uint32_t>(capacity - 1 - i) : i;
      if (has_slots) tier.slots.push_back(slot);
      RandomStream row(mix_key(options.seed, 3, sources[members[t][i]]));
      std::vector<float> values(options.columns);
      for (float& value : values) value = static_cast<float>(row.uniform() * 2 - 1);
      convert(Dtype::f32, reinterpret_cast<const std::byte*>(values.data()), options.dtype,
              tier.bytes.data() + shift + slot * row_bytes, values.size());
    }
    view_.input.append(tier.bytes.data() + shift, static_cast<std::uint32_t>(members[t].size()),
                       has_slots ? tier.slots.data() : nullptr);
  }
  for (std::uint32_t& src : blocks_.front().indices) src = new_local[src];
  dst_in_src_.assign(new_local.begin(), new_local.begin() + blocks_.front().dst_count);
}

std::vector<BlockMaxima> RandomBatch::maxima() const {
  std::vector<BlockMaxima> maxima;
  for (const BlockView& block : block_views_) {
    maxima.push_back({block.dst_count, block.src_count, block.edge_count()});
  }
  return maxima;
}

}  // namespace gneiss::test
