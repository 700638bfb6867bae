// Rows on their way from a scan to one place in pack.bin: which are still waited for, and the piece being
// filled.
//
// Why:     a segment, and a part of the rows that batches share, are filled alike: in the order of the scan.
// Crash:   save() tells what is in the file; go_on() takes it up, when it is what was written.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"
#include "storage/format/checkpoint.h"
#include "storage/format/pack_file.h"
#include "storage/io/write_behind.h"

namespace gneiss {

struct RowPlace {
  std::uint64_t offset = 0;  // in pack.bin, a multiple of 4096
  std::uint64_t row_count = 0;
  std::uint64_t row_bytes = 0;
  std::uint64_t rows_bytes() const noexcept { return row_count * row_bytes; }
};

// Nodes is DiskNodes or ListedNodes: the nodes whose rows come, ascending.
template <class Nodes>
class RowStream {
 public:
  //   writer  of pack.bin, opened for direct writes where the file system allows; its pieces have this size
  //   piece   bytes written at once: a multiple of 64 KiB
  RowStream(Nodes nodes, const RowPlace& place, WriteBehind& writer, std::size_t piece_bytes)
      : nodes_(std::move(nodes)),
        place_(place),
        writer_(writer),
        piece_bytes_(piece_bytes),
        piece_(AlignedBuffer::uninitialized(piece_bytes)) {}

  // Takes its rows among nodes [first_node, first_node + row count); scans come in node order.
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
    const std::uint64_t end_node = first_node + rows.size() / place_.row_bytes;
    while (nodes_.has_node() && to_index(nodes_.node()) < end_node) {
      append(rows.subspan((to_index(nodes_.node()) - first_node) * place_.row_bytes, place_.row_bytes));
      nodes_.advance();
    }
  }
  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t take = std::min(bytes.size(), piece_bytes_ - filled_);
      std::memcpy(piece_.data() + filled_, bytes.data(), take);
      filled_ += take;
      bytes = bytes.subspan(take);
      if (filled_ == piece_bytes_) flush();
    }
  }
  // Writes what is in the piece, padded to 4096 with zeros. No append() follows but of a whole piece's end.
  void flush() {
    if (filled_ == 0) return;
    const std::uint64_t rows_left = place_.rows_bytes() - std::min(place_.rows_bytes(), written_);
    checksum_piece(std::min<std::uint64_t>(rows_left, filled_), checksums_);
    writer_.write(place_.offset + written_, piece_, pad());
    written_ += filled_;
    filled_ = 0;
  }

  bool has_all_rows() const noexcept { return !nodes_.has_node() && taken_bytes() == place_.rows_bytes(); }
  std::uint64_t taken_bytes() const noexcept { return written_ + filled_; }
  // Of each 64 KiB of the rows so far, the last perhaps not whole.
  std::vector<std::uint64_t> checksums() const {
    std::vector<std::uint64_t> all = checksums_;
    checksum_piece(filled_, all);
    return all;
  }

  // Nothing may be on its way to `target`, pack.bin. First the piece in work is written, by any thread; then
  // save() tells, for a later stream to go on behind all that this one took.
  void write_unfinished_piece(const File& target) {
    // What pads it is written over later.
    if (filled_ == 0) return;
    target.write_at(place_.offset + written_, piece_.bytes().first(pad()));
  }
  void save(std::vector<std::uint64_t>& numbers) const {
    numbers.push_back(nodes_.position());
    numbers.push_back(taken_bytes());
    numbers.insert(numbers.end(), checksums_.begin(), checksums_.end());
    checksum_piece(filled_, numbers);
  }
  // Takes up what save() told. Throws Error(corruption) unless the last of the bytes are those in `target`
  // and all rows of nodes below `first_node`, and no others, are among them.
  void go_on(CheckpointReader& numbers, const File& target, std::uint64_t first_node) {
    const std::uint64_t position = numbers.take(nodes_.list_size());
    const std::uint64_t bytes = numbers.take(place_.rows_bytes());
    checksums_ = numbers.take_many(divide_up(bytes, segment_checksum_block_bytes));
    written_ = round_down(bytes, segment_checksum_block_bytes);
    filled_ = bytes - written_;
    nodes_.seek(position);
    bool is_sound = bytes % place_.row_bytes == 0 &&
                    (!nodes_.has_node() || to_index(nodes_.node()) >= first_node) &&
                    (nodes_.has_node() || bytes == place_.rows_bytes());
    if (filled_ > 0) {
      target.read_at(place_.offset + written_, piece_.bytes().first(round_up(filled_, direct_io_alignment)));
      is_sound = is_sound && checksum(piece_.bytes().first(filled_)) == checksums_.back();
      checksums_.pop_back();
    }
    if (!is_sound) fail(Kind::corruption, "{} is not what was written", target.path());
  }

 private:
  // Zeros behind what is filled, up to a multiple of 4096, which is returned.
  std::size_t pad() {
    const std::size_t bytes = round_up(filled_, direct_io_alignment);
    std::memset(piece_.data() + filled_, 0, bytes - filled_);
    return bytes;
  }
  void checksum_piece(std::uint64_t bytes, std::vector<std::uint64_t>& checksums) const {
    for (std::uint64_t at = 0; at < bytes; at += segment_checksum_block_bytes) {
      checksums.push_back(checksum(
          piece_.bytes().subspan(at, std::min<std::uint64_t>(bytes - at, segment_checksum_block_bytes))));
    }
  }

  Nodes nodes_;
  const RowPlace place_;
  WriteBehind& writer_;
  const std::size_t piece_bytes_;
  AlignedBuffer piece_;  // as many as there are batches: what a small one does not fill is never touched
  std::size_t filled_ = 0;
  std::uint64_t written_ = 0;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace gneiss
