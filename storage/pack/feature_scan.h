// Reads the feature section once, in order, from its beginning or a later block on, one chunk ahead of who
// uses it, and checks it.
//
// Memory:  two chunks of 4 MiB.
// Threads: a reader of its own; next() belongs to one thread.
// Errors:  io, corruption (a block does not match its checksum), thrown by next().
#pragma once

#include <algorithm>
#include <exception>
#include <optional>
#include <thread>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/bounded_queue.h"
#include "storage/base/cancel.h"
#include "storage/base/progress.h"
#include "storage/format/section_file.h"

namespace gneiss {

class FeatureScan {
 public:
  struct Chunk {
    AlignedBuffer bytes;
    std::uint64_t offset = 0;  // within the section
    std::size_t size = 0;
  };

  //   first_offset  where the first chunk begins: a multiple of the section's checksum blocks
  //   end_offset    where it ends: another, or the section's end, as it is where none is given
  FeatureScan(const SectionFile& file, const SectionEntry& rows, std::uint64_t first_offset = 0,
              std::optional<std::uint64_t> end_offset = std::nullopt);
  ~FeatureScan();

  std::optional<Chunk> next();  // nothing at the end
  void give_back(Chunk chunk) { empty_.push(std::move(chunk), {}); }

 private:
  void read_all(const std::stop_token& stop);

  const SectionFile& file_;
  const SectionEntry& rows_;
  const std::uint64_t first_offset_;
  const std::uint64_t end_offset_;
  const std::vector<std::uint64_t> checksums_;
  BoundedQueue<Chunk> empty_;
  BoundedQueue<Chunk> full_;
  std::exception_ptr failure_;
  std::jthread reader_;
};

// Hands on whole rows although chunks end anywhere: the bytes of a row cut in two are joined.
class RowAligner {
 public:
  //   first_offset  of the first byte that is fed: rows that begin before it are left out
  explicit RowAligner(std::uint64_t row_bytes, std::uint64_t first_offset = 0)
      : row_bytes_(row_bytes),
        node_(divide_up(first_offset, row_bytes)),
        skip_(node_ * row_bytes - first_offset) {}

  // Calls use(first_node, rows) at most twice: for the joined row, then for the whole rows in `bytes`.
  template <class Use>
  void feed(std::span<const std::byte> bytes, const Use& use) {
    const std::size_t skipped = std::min<std::uint64_t>(skip_, bytes.size());
    skip_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (!cut_.empty()) {
      const std::size_t take = std::min<std::size_t>(row_bytes_ - cut_.size(), bytes.size());
      cut_.insert(cut_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (cut_.size() < row_bytes_) return;
      use(node_++, std::span<const std::byte>(cut_));
      cut_.clear();
    }
    const std::size_t whole = round_down(bytes.size(), row_bytes_);
    if (whole > 0) use(node_, bytes.first(whole));
    node_ += whole / row_bytes_;
    cut_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(whole), bytes.end());
  }

 private:
  std::uint64_t row_bytes_;
  std::uint64_t node_ = 0;
  std::uint64_t skip_ = 0;
  std::vector<std::byte> cut_;
};

// One scan from the row of `first_node` on, or from the beginning of its block: use(first_node, rows) takes
// whole rows in order, after_chunk(node) comes between two chunks, when all rows of nodes below it have
// passed. Returns the bytes read. Errors: as FeatureScan's, cancelled.
template <class Use, class AfterChunk>
std::uint64_t scan_features(const SectionFile& file, std::uint64_t first_node, Progress& progress,
                            const Use& use, const AfterChunk& after_chunk) {
  const SectionEntry& rows = file.require(SectionKind::feature_rows);
  const std::uint64_t row_bytes = rows.bytes / rows.rows;
  const std::uint64_t first_offset =
      round_down(std::min(first_node * row_bytes, rows.bytes), rows.checksum_block_bytes);
  progress.advance(first_offset);
  FeatureScan scan(file, rows, first_offset);
  RowAligner aligner(row_bytes, first_offset);
  while (auto chunk = scan.next()) {
    throw_if_interrupted();
    aligner.feed(std::span<const std::byte>(chunk->bytes.bytes()).first(chunk->size), use);
    const std::uint64_t passed = chunk->offset + chunk->size;
    progress.advance(chunk->size);
    scan.give_back(std::move(*chunk));
    if (passed < rows.bytes) after_chunk(passed / row_bytes);
  }
  return rows.bytes - first_offset;
}

}  // namespace gneiss
