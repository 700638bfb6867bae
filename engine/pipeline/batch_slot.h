// The memory one batch in flight occupies, from its first read to the end of its computation.
//
// Memory: everything is taken at construction, sized by the largest batch; nothing is allocated later.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <vector>

#include "engine/pipeline/batch_source.h"
#include "engine/pipeline/trace.h"
#include "storage/base/aligned_buffer.h"
#include "storage/format/preparation.h"

namespace gneiss {

// The largest batch among those that will be read: sizes of a slot, and of a model's activations.
struct SlotSizes {
  std::uint64_t segment_bytes = 0;
  std::uint64_t compressed_bytes = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t page_rows = 0;         // u32 each: where shared rows lie
  std::uint64_t transposed_words = 0;  // u32s for the transposed edges of all blocks but the first
  std::uint32_t hop_count = 0;

  std::uint64_t bytes() const noexcept {
    return segment_bytes + compressed_bytes + raw_bytes + 4 * (page_rows + transposed_words);
  }
};
//   largest_segment_bytes  of any batch
SlotSizes slot_sizes(std::size_t hop_count, const PoolMaxima& maxima, std::uint64_t largest_segment_bytes);
SlotSizes slot_sizes(const Preparation& preparation);

struct BatchSlot {
  explicit BatchSlot(const SlotSizes& sizes);

  // What a device may be told of: the memory that batches' views point into.
  std::array<std::span<std::byte>, 4> memory() {
    return {raw.bytes(), transposed.bytes(), page_slots.bytes(), segment.bytes()};
  }

  // The views of the frame's blocks, in `blocks`; returns the bytes of `transposed` that they take.
  //   transpose  inner blocks by source too: needed for training
  std::size_t view_blocks(bool transpose);

  std::size_t index = 0;       // of the batch, in the pool
  std::uint64_t position = 0;  // in the schedule
  std::uint32_t lane = 0;      // of the timeline
  Trace::Clock::time_point reads_began;
  Trace::Clock::time_point reads_ended;
  std::uint32_t reads_in_flight = 0;
  bool all_submitted = false;
  std::exception_ptr failure;  // of reading or assembly; handed on with the batch
  AlignedBuffer segment;
  AlignedBuffer compressed;
  AlignedBuffer raw;         // the decompressed frame
  AlignedBuffer page_slots;  // u32
  AlignedBuffer transposed;  // u32
  BatchFrame frame;
  std::vector<BlockView> blocks;
  SourcedBatch batch;
};

}  // namespace gneiss
