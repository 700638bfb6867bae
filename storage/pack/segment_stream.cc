#include "storage/pack/segment_stream.h"

#include <algorithm>
#include <cstring>

#include "storage/base/error.h"

namespace gneiss {
namespace {
constexpr std::size_t window_nodes = 8U << 10;
}

SegmentStream::SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch,
                             const SegmentEntry& entry, const File& file, std::size_t piece_bytes)
    : lists_(lists),
      plan_(plan),
      batch_(batch),
      entry_(entry),
      file_(file),
      piece_(std::min<std::uint64_t>(piece_bytes, round_up(entry.bytes, segment_checksum_block_bytes))),
      window_(std::min<std::uint64_t>(window_nodes, lists.node_count(batch))),
      placements_(window_.size()) {
  has_node_ = advance();
}

bool SegmentStream::advance() {
  for (;;) {
    if (window_at_ == window_count_) {
      window_count_ = lists_.read(batch_, list_at_, window_);
      plan_.place(batch_, list_at_, std::span(window_).first(window_count_),
                  std::span(placements_).first(window_count_));
      list_at_ += window_count_;
      window_at_ = 0;
      if (window_count_ == 0) return false;
    }
    node_ = window_[window_at_];
    if (!placements_[window_at_++].is_cached()) return true;
  }
}

void SegmentStream::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  const std::uint64_t end_node = first_node + rows.size() / entry_.row_bytes;
  while (has_node_ && to_index(node_) < end_node) {
    append(rows.subspan((to_index(node_) - first_node) * entry_.row_bytes, entry_.row_bytes));
    has_node_ = advance();
  }
}

void SegmentStream::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t take = std::min(bytes.size(), piece_.size() - filled_);
    std::memcpy(piece_.data() + filled_, bytes.data(), take);
    filled_ += take;
    bytes = bytes.subspan(take);
    if (filled_ == piece_.size()) write_piece(filled_);
  }
}

void SegmentStream::write_piece(std::size_t bytes) {
  // Pieces are whole checksum blocks, but for the last.
  for (std::size_t at = 0; at < bytes; at += segment_checksum_block_bytes) {
    const std::uint64_t rows_bytes = std::uint64_t{entry_.row_count} * entry_.row_bytes;
    if (written_ + at >= rows_bytes) break;
    const std::uint64_t left = std::min<std::uint64_t>(rows_bytes - written_ - at, bytes - at);
    checksums_.push_back(
        checksum(piece_.bytes().subspan(at, std::min<std::uint64_t>(left, segment_checksum_block_bytes))));
  }
  file_.write_at(entry_.offset + written_, piece_.bytes().first(round_up(bytes, direct_io_alignment)));
  written_ += bytes;
  filled_ = 0;
}

void SegmentStream::finish() {
  if (entry_.bytes == 0) return;
  const std::uint64_t rows_bytes = std::uint64_t{entry_.row_count} * entry_.row_bytes;
  GNEISS_ASSERT(!has_node_ && written_ + filled_ == rows_bytes);
  // The checksums of what is still in the piece belong to the trailer, which follows the rows.
  std::vector<std::uint64_t> checksums = checksums_;
  for (std::size_t at = 0; at < filled_; at += segment_checksum_block_bytes) {
    checksums.push_back(checksum(
        piece_.bytes().subspan(at, std::min<std::size_t>(filled_ - at, segment_checksum_block_bytes))));
  }
  static constexpr std::array<std::byte, direct_io_alignment> zeros{};
  append(std::span(zeros).first(round_up(rows_bytes, 8) - rows_bytes));
  append(build_segment_trailer(entry_.key, rows_bytes, checksums));
  append(std::span(zeros).first(entry_.bytes - written_ - filled_));
  if (filled_ > 0) write_piece(filled_);
  GNEISS_ASSERT(written_ == entry_.bytes);
}

}  // namespace gneiss
