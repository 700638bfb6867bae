// One batch's way through a scan: which rows it still waits for, and the piece of its segment being filled.
#pragma once

#include <vector>

#include "storage/format/pack_file.h"
#include "storage/pack/input_lists.h"
#include "storage/pack/tier_planner.h"

namespace gneiss {

class SegmentStream {
 public:
  //   file   pack.bin, opened for direct writes where the file system allows
  //   piece  bytes written at once: a multiple of 64 KiB
  SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch, const SegmentEntry& entry,
                const File& file, std::size_t piece_bytes);

  // Takes this batch's rows among nodes [first_node, first_node + row count); scans come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  // After the scan: writes what is left and the trailer. Asserts that every row came.
  void finish();

 private:
  bool advance();  // to the next disk-tier node; false at the list's end
  void append(std::span<const std::byte> bytes);
  void write_piece(std::size_t bytes);

  const InputLists& lists_;
  const TierPlan& plan_;
  const std::size_t batch_;
  const SegmentEntry entry_;
  const File& file_;
  AlignedBuffer piece_;
  std::size_t filled_ = 0;
  std::uint64_t written_ = 0;
  std::vector<std::uint64_t> checksums_;
  std::vector<NodeId> window_;  // part of the input list
  std::vector<Placement> placements_;
  std::size_t window_count_ = 0;
  std::size_t window_at_ = 0;
  std::uint64_t list_at_ = 0;
  bool has_node_ = false;
  NodeId node_{};
};

}  // namespace gneiss
