#include "bench/micro/random_batch.h"

#include <unordered_map>

#include "bench/micro/setup.h"
#include "storage/base/dtype.h"
#include "storage/base/random.h"

namespace gneiss::micro {

RandomBatch::RandomBatch(std::uint32_t seeds, std::uint32_t fanout, std::uint32_t columns, Dtype dtype) {
  draw_blocks(seeds, fanout);
  make_tiers(columns, dtype);
  for (std::size_t b = 0; b < 2; ++b) {
    blocks_[b].indptr = indptr_[b];
    blocks_[b].indices = indices_[b];
  }
  blocks_[0].dst_in_src = dst_in_src_;
  const std::size_t edges = indices_[1].size();
  transposed_.resize(blocks_[1].src_count + 1 + 2 * edges);
  const std::span<std::uint32_t> memory(transposed_);
  transpose(blocks_[1], memory.first(blocks_[1].src_count + 1),
            memory.subspan(blocks_[1].src_count + 1, edges), memory.last(edges));
  RandomStream draws(mix_key(seeds));
  for (std::uint32_t i = 0; i < seeds; ++i) targets_.push_back(static_cast<std::int32_t>(draws.below(32)));
  view_.blocks = blocks_;
  view_.hidden_nodes = hidden_nodes_;
  view_.targets = targets_;
}

std::vector<BlockMaxima> RandomBatch::maxima() const {
  std::vector<BlockMaxima> result;
  for (const BlockView& block : blocks_)
    result.push_back({block.dst_count, block.src_count, block.edge_count()});
  return result;
}

void RandomBatch::draw_blocks(std::uint32_t seeds, std::uint32_t fanout) {
  constexpr std::uint32_t node_count = 1'000'000;
  RandomStream draws(mix_key(seeds, fanout));
  std::vector<std::uint32_t> nodes;
  std::unordered_map<std::uint32_t, std::uint32_t> local;
  const auto add = [&](std::uint64_t node) {
    const auto [entry, is_new] =
        local.try_emplace(static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(nodes.size()));
    if (is_new) nodes.push_back(static_cast<std::uint32_t>(node));
    return entry->second;
  };
  while (nodes.size() < seeds) add(draws.below(node_count));
  for (std::size_t b = 2; b-- > 0;) {
    BlockView& block = blocks_[b];
    block.dst_count = static_cast<std::uint32_t>(nodes.size());
    indptr_[b].push_back(0);
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      for (std::uint32_t e = 0; e < fanout; ++e) indices_[b].push_back(add(draws.below(node_count)));
      indptr_[b].push_back(static_cast<std::uint32_t>(indices_[b].size()));
    }
    block.src_count = static_cast<std::uint32_t>(nodes.size());
    if (b == 0) {
      for (std::uint32_t i = 0; i < block.dst_count; ++i) hidden_nodes_.push_back(NodeId{nodes[i]});
    }
  }
}

void RandomBatch::make_tiers(std::uint32_t columns, Dtype dtype) {
  const std::uint32_t src_count = blocks_[0].src_count;
  const std::uint32_t cached = src_count / 2;
  view_.input = TieredRows(dtype, columns);
  const std::size_t row_bytes = view_.input.row_bytes();
  std::vector<std::uint32_t> order(src_count);  // order[old local id] = new local id
  for (std::uint32_t i = 0; i < src_count; ++i) order[i] = i;
  RandomStream draws(mix_key(5));
  for (std::uint32_t i = src_count; i-- > 1;) std::swap(order[i], order[draws.below(i + 1)]);
  for (std::uint32_t& src : indices_[0]) src = order[src];
  dst_in_src_.assign(order.begin(), order.begin() + blocks_[0].dst_count);
  const std::vector<float> row = random_values(columns);
  cache_ = AlignedBuffer(std::size_t{cached} * 4 * row_bytes);  // a cache that this batch uses a quarter of
  disk_ = AlignedBuffer(std::size_t{src_count - cached} * row_bytes);
  for (AlignedBuffer* memory : {&cache_, &disk_}) {
    for (std::size_t at = 0; at < memory->size(); at += row_bytes) {
      convert(Dtype::f32, reinterpret_cast<const std::byte*>(row.data()), dtype, memory->data() + at,
              columns);
    }
  }
  for (std::uint32_t i = 0; i < cached; ++i)
    slots_.push_back(static_cast<std::uint32_t>(i * 4 + draws.below(4)));
  view_.input.append(cache_.data(), cached, slots_.data());
  view_.input.append(disk_.data(), src_count - cached);
}

}  // namespace gneiss::micro
