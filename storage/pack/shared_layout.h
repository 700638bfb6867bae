// Under a disk budget: batches share their rows, and each still reads its own in few large pieces.
//
// How:     a group of consecutive batches keeps each of its rows once, sorted by which of the batches read
//          it: rows that the same batches read stand together. The sets, as bits, are ordered along a Gray
//          code, in which neighbors differ in few batches, so that the rows of one batch form long runs. A
//          batch reads the pages that hold its rows; over a gap that costs less to read than to skip it
//          reads on.
// Cost:    a group takes the union of its batches' rows on disk instead of their sum. Measured on 10 M nodes
//          (49 batches, bench/shared_layout.md): groups of 25 take 1.6 times the features instead of 2.5 and
//          are read in 1.004 times the least time; rows ordered by one MinHash, in 5.4 times.
// Choice:  group_choice.h; where a batch's rows are its alone it has a segment of its own, see packer.h.
// Memory:  8 bytes a node and 16 a row of the largest group, whatever the number of its batches; 12 a row
//          read by the largest batch.
// Source:  DiskGNN (SIGMOD 2025) shares rows in segments of batches and orders them by MinHash; the order by
//          whole sets is ours.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "storage/format/batch_frame.h"
#include "storage/format/pack_file.h"
#include "storage/io/drive_profile.h"
#include "storage/pack/tier_planner.h"

namespace gneiss {

// Each 64 batches of a group cost a sort of its rows.
inline constexpr std::size_t group_batches_max = 256;
// Bytes not needed up to which two reads become one, for reading them costs less than another read. By the
// drive's profile, to a power of two from 4 KiB to 1 MiB, so that a drive measured again mostly gives the
// same files; on a drive not measured, the first.
inline constexpr std::uint64_t usual_read_gap_bytes = 8192;
std::uint64_t read_gap_for(const DriveProfile& drive) noexcept;

struct BatchGroup {
  std::size_t first_batch = 0;
  std::size_t batch_count = 0;  // at most group_batches_max
};

// Batches in groups of this many, and the rest of each split in one that is smaller. Of all ways to deal
// batches to groups of at most so many it takes the least space: the more batches share a row already, the
// fewer rows another one adds.
std::vector<BatchGroup> group_batches(std::span<const BatchKey> keys, std::size_t train_group_size,
                                      std::size_t evaluation_group_size);

// Distinct rows that each group reads from disk: what it takes there. Memory: a bit a node.
std::vector<std::uint64_t> count_group_rows(const InputLists& lists, const TierPlan& plan,
                                            std::span<const BatchGroup> groups, std::uint64_t node_count);

// Of the first 0, 1, 2, ... batches of a group: distinct rows that they read from disk. Memory: a bit a node.
std::vector<std::uint64_t> count_group_growth(const InputLists& lists, const TierPlan& plan,
                                              const BatchGroup& group, std::uint64_t node_count);

struct SharedLayout {
  std::vector<BatchGroup> groups;
  std::vector<std::uint64_t> region_offsets;  // of each group, from the first one's; and the end of the last
  ScratchLists<NodeId> region_nodes;          // of each group, in the order of its rows
  std::vector<Extent> extents;                // of all batches, offsets from the first region's
  std::vector<std::uint64_t> first_extents;   // of each batch, and the end
  ScratchLists<NodeId> batch_nodes;           // the disk rows of each batch, in the order they are read
  ScratchLists<PageRun> batch_runs;           // where they lie in the batch's buffer

  std::span<const Extent> extents_of(std::size_t batch) const {
    return std::span(extents).subspan(first_extents[batch], first_extents[batch + 1] - first_extents[batch]);
  }
  std::uint64_t extent_bytes(std::size_t batch) const;
  std::uint64_t read_bytes(std::size_t batch) const;  // with the trailer
  std::uint64_t bytes() const;                        // of all regions and trailers
  std::uint64_t largest_group_rows() const;
};

// Groups cover the batches in order. Errors: io, cancelled.
SharedLayout lay_out_shared(const InputLists& lists, const TierPlan& plan, std::vector<BatchGroup> groups,
                            std::uint64_t row_bytes, std::uint64_t node_count, std::uint64_t read_gap_bytes,
                            const std::filesystem::path& scratch_folder);

}  // namespace gneiss
