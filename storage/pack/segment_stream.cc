#include "storage/pack/segment_stream.h"

#include <algorithm>
#include <cstring>

#include "storage/base/error.h"

namespace gneiss {
namespace {
constexpr std::size_t window_nodes = 8U << 10;
}

SegmentStream::SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch,
                             const SegmentEntry& entry, WriteBehind& writer, std::size_t piece_bytes)
    : nodes_(lists, plan, batch, window_nodes),
      entry_(entry),
      writer_(writer),
      piece_bytes_(piece_bytes),
      piece_(piece_bytes) {}

void SegmentStream::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  const std::uint64_t end_node = first_node + rows.size() / entry_.row_bytes;
  while (nodes_.has_node() && to_index(nodes_.node()) < end_node) {
    append(rows.subspan((to_index(nodes_.node()) - first_node) * entry_.row_bytes, entry_.row_bytes));
    nodes_.advance();
  }
}

void SegmentStream::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t take = std::min(bytes.size(), piece_bytes_ - filled_);
    std::memcpy(piece_.data() + filled_, bytes.data(), take);
    filled_ += take;
    bytes = bytes.subspan(take);
    if (filled_ == piece_bytes_) write_piece(filled_);
  }
}

void SegmentStream::write_piece(std::size_t bytes) {
  // Pieces are whole checksum blocks, but for the last.
  for (std::size_t at = 0; at < bytes; at += segment_checksum_block_bytes) {
    if (written_ + at >= rows_bytes()) break;
    const std::uint64_t left = std::min<std::uint64_t>(rows_bytes() - written_ - at, bytes - at);
    checksums_.push_back(
        checksum(piece_.bytes().subspan(at, std::min<std::uint64_t>(left, segment_checksum_block_bytes))));
  }
  writer_.write(entry_.offset + written_, piece_, round_up(bytes, direct_io_alignment));
  written_ += bytes;
  filled_ = 0;
}

void SegmentStream::finish() {
  if (entry_.bytes == 0) return;
  GNEISS_ASSERT(!nodes_.has_node() && written_ + filled_ == rows_bytes());
  // The checksums of what is still in the piece belong to the trailer, which follows the rows.
  std::vector<std::uint64_t> checksums = checksums_;
  checksum_piece(filled_, checksums);
  static constexpr std::array<std::byte, direct_io_alignment> zeros{};
  append(std::span(zeros).first(round_up(rows_bytes(), 8) - rows_bytes()));
  append(build_segment_trailer(entry_.key, rows_bytes(), checksums));
  append(std::span(zeros).first(entry_.bytes - written_ - filled_));
  if (filled_ > 0) write_piece(filled_);
  GNEISS_ASSERT(written_ == entry_.bytes);
}

void SegmentStream::checksum_piece(std::uint64_t bytes, std::vector<std::uint64_t>& checksums) const {
  for (std::uint64_t at = 0; at < bytes; at += segment_checksum_block_bytes) {
    checksums.push_back(checksum(
        piece_.bytes().subspan(at, std::min<std::uint64_t>(bytes - at, segment_checksum_block_bytes))));
  }
}

void SegmentStream::write_unfinished_piece(const File& target) const {
  // What pads it is written over later.
  if (filled_ == 0) return;
  target.write_at(entry_.offset + written_, piece_.bytes().first(round_up(filled_, direct_io_alignment)));
}

void SegmentStream::save(std::vector<std::uint64_t>& numbers) const {
  numbers.push_back(nodes_.position());
  numbers.push_back(written_ + filled_);
  numbers.insert(numbers.end(), checksums_.begin(), checksums_.end());
  checksum_piece(filled_, numbers);
}

void SegmentStream::go_on(CheckpointReader& numbers, const File& target, std::uint64_t first_node) {
  const std::uint64_t position = numbers.take(nodes_.list_size());
  const std::uint64_t bytes = numbers.take(rows_bytes());
  checksums_ = numbers.take_many(divide_up(bytes, segment_checksum_block_bytes));
  written_ = round_down(bytes, segment_checksum_block_bytes);
  filled_ = bytes - written_;
  nodes_.seek(position);
  bool is_sound = bytes % entry_.row_bytes == 0 &&
                  (!nodes_.has_node() || to_index(nodes_.node()) >= first_node) &&
                  (nodes_.has_node() || bytes == rows_bytes());
  if (filled_ > 0) {
    target.read_at(entry_.offset + written_, piece_.bytes().first(round_up(filled_, direct_io_alignment)));
    is_sound = is_sound && checksum(piece_.bytes().first(filled_)) == checksums_.back();
    checksums_.pop_back();
  }
  if (!is_sound) fail(Kind::corruption, "{} is not what was written", target.path());
}

}  // namespace gneiss
