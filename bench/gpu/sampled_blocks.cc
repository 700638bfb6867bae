#include "bench/gpu/sampled_blocks.h"

#include <algorithm>
#include <numeric>

#include "storage/base/random.h"

namespace gneiss::gpu {
namespace {

using Words = std::vector<std::uint32_t>;

// Nodes in the order in which they are met: a node's local id is its place among them.
class Nodes {
 public:
  explicit Nodes(std::uint32_t count) : local_(count, no_node) {}
  std::uint32_t add(std::uint32_t node) {
    if (local_[node] == no_node) {
      local_[node] = size();
      nodes_.push_back(node);
    }
    return local_[node];
  }
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(nodes_.size()); }
  const Words& all() const noexcept { return nodes_; }

 private:
  static constexpr std::uint32_t no_node = 0xFFFFFFFFU;
  Words local_;
  Words nodes_;
};

// Deals out a piece of memory in order.
class Piece {
 public:
  Piece(Words& words, std::size_t count) {
    words.resize(count);
    rest_ = words;
  }
  std::span<std::uint32_t> take(std::size_t count) {
    const auto part = rest_.first(count);
    rest_ = rest_.subspan(count);
    return part;
  }
  std::span<const std::uint32_t> hold(const Words& values) {
    const auto part = take(values.size());
    std::ranges::copy(values, part.begin());
    return part;
  }

 private:
  std::span<std::uint32_t> rest_;
};

}  // namespace

SampledBlocks::SampledBlocks(const BlockShape& shape) : blocks_(shape.fanouts.size()) {
  RandomStream draws(mix_key(shape.node_count, shape.seed_count));
  const auto any_node = [&] { return static_cast<std::uint32_t>(draws.below(shape.node_count)); };
  Nodes nodes(shape.node_count);
  while (nodes.size() < shape.seed_count) nodes.add(any_node());
  std::vector<Words> indptr(blocks_.size());
  std::vector<Words> indices(blocks_.size());
  std::size_t frame_words = 0;
  std::size_t transposed_words = 0;
  for (std::size_t b = blocks_.size(); b-- > 0;) {
    const std::uint32_t fanout = shape.fanouts[blocks_.size() - 1 - b];
    BlockView& block = blocks_[b];
    block.dst_count = nodes.size();
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      indptr[b].push_back(dst * fanout);
      for (std::uint32_t e = 0; e < fanout; ++e) indices[b].push_back(nodes.add(any_node()));
    }
    indptr[b].push_back(block.dst_count * fanout);
    block.src_count = nodes.size();
    frame_words += indptr[b].size() + indices[b].size();
    transposed_words += block.src_count + 1 + 2 * indices[b].size();
  }
  Piece frame(frame_, frame_words + nodes.size() + blocks_.front().dst_count);
  Piece transposed(transposed_, transposed_words);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    BlockView& block = blocks_[b];
    block.indptr = frame.hold(indptr[b]);
    block.indices = frame.hold(indices[b]);
    const auto back_indptr = transposed.take(block.src_count + 1);
    const auto back_indices = transposed.take(block.edge_count());
    transpose(block, back_indptr, back_indices, transposed.take(block.edge_count()));
  }
  slots_ = frame.hold(nodes.all()).data();
  // As block 0 of a batch has it, though here destinations are the first sources anyway.
  const auto rows = frame.take(blocks_.front().dst_count);
  std::iota(rows.begin(), rows.end(), 0U);
  blocks_.front().dst_in_src = rows;
}

HostBatch SampledBlocks::batch(const std::byte* device_table, std::uint32_t columns) const {
  HostBatch batch;
  batch.view.blocks = blocks_;
  batch.view.input = TieredRows(Dtype::f32, columns);
  batch.view.input.append(device_table, blocks_.front().src_count, slots_);
  batch.memory[0] = std::as_bytes(std::span(frame_));
  batch.memory[1] = std::as_bytes(std::span(transposed_));
  return batch;
}

}  // namespace gneiss::gpu
