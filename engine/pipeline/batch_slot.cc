#include "engine/pipeline/batch_slot.h"

#include <algorithm>

namespace gneiss {

SlotSizes slot_sizes(std::size_t hop_count, const PoolMaxima& maxima, std::uint64_t largest_segment_bytes) {
  return {.segment_bytes = largest_segment_bytes,
          .compressed_bytes = round_up(maxima.frame_bytes, file_section_alignment),
          .raw_bytes = maxima.frame_raw_bytes,
          .page_rows = maxima.page_rows,
          // Inner blocks: for each edge its destination and its position, and an offset per source; sources
          // of all are at most the hidden nodes.
          .transposed_words = 2 * maxima.inner_edge_count + (maxima.hidden_count + 1) * hop_count,
          .hop_count = static_cast<std::uint32_t>(hop_count)};
}

SlotSizes slot_sizes(const Preparation& preparation) {
  std::uint64_t largest = 0;
  for (const SegmentEntry& segment : preparation.pack().entries()) largest = std::max(largest, segment.bytes);
  return slot_sizes(preparation.info().options.fanouts.size(), maxima_of(preparation.pool().entries()),
                    largest);
}

BatchSlot::BatchSlot(const SlotSizes& sizes)
    : segment(sizes.segment_bytes),
      compressed(sizes.compressed_bytes),
      raw(sizes.raw_bytes),
      page_slots(sizes.page_rows * sizeof(std::uint32_t)),
      transposed(sizes.transposed_words * sizeof(std::uint32_t)) {
  frame.blocks.reserve(sizes.hop_count);
  blocks.reserve(sizes.hop_count);
}

std::size_t BatchSlot::view_blocks(bool transpose) {
  blocks.clear();
  std::span<std::uint32_t> words = transposed.as<std::uint32_t>();
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
  return transposed.size() - words.size_bytes();
}

}  // namespace gneiss
