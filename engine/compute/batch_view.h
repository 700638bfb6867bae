// A mini-batch as the model sees it: input rows, blocks, labels.
//
// Memory: borrows from the pipeline's batch slot; valid until the slot is given back.
#pragma once

#include <cstdint>
#include <span>

#include "engine/compute/block_view.h"
#include "engine/compute/tiered_rows.h"
#include "storage/base/ids.h"
#include "storage/format/batch_key.h"
#include "storage/format/node_labels.h"

namespace gneiss {

inline constexpr std::int32_t no_label = -1;

// What the seeds of a batch are to be told as.
struct BatchLabels {
  std::span<const std::int32_t> targets{};  // the class of each seed; no_label where it has none
  // Where labels have columns: [seeds, label_columns] of 0, 1 and `unlabelled`; then there are no targets.
  std::span<const std::uint8_t> label_rows{};
  std::uint32_t label_columns = 0;
};

struct BatchView {
  BatchKey key{};
  TieredRows input{};                   // one row per source of block 0
  std::span<const BlockView> blocks{};  // block 0 is next to the input; the last one's destinations are seeds
  // The nodes of block 0's destinations. Sources of block l + 1 are the destinations of block l, and
  // destinations are a prefix of sources: so the nodes of every hidden row are a prefix of these.
  std::span<const NodeId> hidden_nodes{};
  std::span<const std::int32_t> targets{};  // see BatchLabels
  std::span<const std::uint8_t> label_rows{};
  std::uint32_t label_columns = 0;

  BatchLabels labels() const noexcept { return {targets, label_rows, label_columns}; }
  std::uint32_t seed_count() const noexcept {
    return blocks.empty() ? input.row_count() : blocks.back().dst_count;
  }
  // The input row of each seed; empty: seed i is input row i.
  std::span<const std::uint32_t> seed_rows() const noexcept {
    if (blocks.empty() || blocks.front().dst_in_src.empty()) return {};
    return blocks.front().dst_in_src.first(seed_count());
  }
};

// The largest counts any batch has, block by block: what a model sizes its memory from.
struct BlockMaxima {
  std::uint32_t dst_count = 0;
  std::uint32_t src_count = 0;
  std::uint32_t edge_count = 0;
};

}  // namespace gneiss
