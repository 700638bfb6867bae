// One batch's way through a scan: which rows it still waits for, and the piece of its segment being filled.
#pragma once

#include <vector>

#include "storage/format/checkpoint.h"
#include "storage/format/pack_file.h"
#include "storage/io/write_behind.h"
#include "storage/pack/disk_nodes.h"

namespace gneiss {

class SegmentStream {
 public:
  //   writer  of pack.bin, opened for direct writes where the file system allows; its pieces have this size
  //   piece   bytes written at once: a multiple of 64 KiB
  SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch, const SegmentEntry& entry,
                WriteBehind& writer, std::size_t piece_bytes);

  // Takes this batch's rows among nodes [first_node, first_node + row count); scans come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows);
  // After the scan: writes what is left and the trailer. Asserts that every row came.
  void finish();

  // Nothing may be on its way to `target`, pack.bin. First the piece in work is written, by any thread; then
  // save() tells, for a later stream to go on behind all that this one took.
  void write_unfinished_piece(const File& target) const;
  void save(std::vector<std::uint64_t>& numbers) const;
  // Takes up what save() told. Throws Error(corruption) unless the last of the bytes are those in `target`
  // and all rows of nodes below `first_node`, and no others, are among them.
  void go_on(CheckpointReader& numbers, const File& target, std::uint64_t first_node);

 private:
  void append(std::span<const std::byte> bytes);
  void write_piece(std::size_t bytes);

  std::uint64_t rows_bytes() const noexcept { return std::uint64_t{entry_.row_count} * entry_.row_bytes; }
  void checksum_piece(std::uint64_t bytes, std::vector<std::uint64_t>& checksums) const;

  DiskNodes nodes_;
  const SegmentEntry entry_;
  WriteBehind& writer_;
  const std::size_t piece_bytes_;
  AlignedBuffer piece_;
  std::size_t filled_ = 0;
  std::uint64_t written_ = 0;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace gneiss
