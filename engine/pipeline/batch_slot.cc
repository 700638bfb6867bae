#include "engine/pipeline/batch_slot.h"

#include <algorithm>

namespace gneiss {

SlotSizes slot_sizes(const Preparation& preparation) {
  SlotSizes sizes;
  sizes.hop_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size());
  for (const SegmentEntry& segment : preparation.pack().entries()) {
    sizes.segment_bytes = std::max(sizes.segment_bytes, segment.bytes);
  }
  for (const BatchEntry& entry : preparation.pool().entries()) {
    sizes.compressed_bytes =
        std::max(sizes.compressed_bytes, round_up(entry.frame_bytes, file_section_alignment));
    sizes.raw_bytes = std::max<std::uint64_t>(sizes.raw_bytes, entry.frame_raw_bytes);
    sizes.page_rows = std::max<std::uint64_t>(sizes.page_rows, entry.page_rows);
    // Inner blocks: for each edge its destination and its position, and an offset per source; sources of all
    // are at most the hidden nodes each.
    const std::uint64_t offsets = (std::uint64_t{entry.hidden_count} + 1) * sizes.hop_count;
    sizes.transposed_words =
        std::max(sizes.transposed_words, std::uint64_t{2} * entry.inner_edge_count + offsets);
  }
  return sizes;
}

BatchSlot::BatchSlot(const SlotSizes& sizes)
    : segment(sizes.segment_bytes), compressed(sizes.compressed_bytes), raw(sizes.raw_bytes) {
  page_slots.resize(sizes.page_rows);
  transposed.resize(sizes.transposed_words);
  frame.blocks.reserve(sizes.hop_count);
  blocks.reserve(sizes.hop_count);
}

void BatchSlot::view_blocks(bool transpose) {
  blocks.clear();
  std::span<std::uint32_t> words(transposed);
  for (const BlockFrame& block : frame.blocks) {
    BlockView view;
    view.dst_count = block.dst_count;
    view.src_count = block.src_count;
    view.indptr = block.indptr;
    view.indices = block.indices;
    view.dst_in_src = block.dst_in_src;
    view.edge_positions = block.edge_positions;
    if (transpose && !blocks.empty()) {
      const auto indptr = words.first(std::size_t{block.src_count} + 1);
      const auto indices = words.subspan(indptr.size(), block.indices.size());
      const auto edges = words.subspan(indptr.size() + indices.size(), block.indices.size());
      words = words.subspan(indptr.size() + indices.size() + edges.size());
      gneiss::transpose(view, indptr, indices, edges);
    }
    blocks.push_back(view);
  }
}

}  // namespace gneiss
