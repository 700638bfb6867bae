// pack.bin: for each mini-batch, exactly the disk-tier rows that it will read, contiguous.
//
// Why:     one sequential read per batch replaces thousands of random 4 KiB reads.
// Layout:  a segment starts at 4 KiB: rows, dense, in node order; then a trailer with a checksum per 64 KiB
//          of rows, read by the same read; padded to 4 KiB. A batch without such rows has no segment.
// Shared:  under a disk budget several batches share their rows: a group's rows stand once, ordered so that
//          each batch finds its own in few extents. A batch then reads its extents, whose pages hold rows of
//          other batches too, and a trailer with a checksum per 4 KiB.
// Format:  storage/FORMAT.md, "Pack file".
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "storage/base/parallel.h"
#include "storage/format/sample_pool.h"
#include "storage/format/section_file.h"

namespace gneiss {

inline constexpr Magic pack_magic{'G', 'N', 'E', 'I', 'S', 'P', 'A', 'K'};
inline constexpr const char* pack_file_name = "pack.bin";
inline constexpr std::uint64_t segment_checksum_block_bytes = 64U << 10;
inline constexpr std::uint64_t shared_page_bytes = 4096;  // shared rows are read and checked by such pages

struct SegmentEntry {
  BatchKey key;
  std::uint64_t offset;  // from the beginning of the file, a multiple of 4096
  std::uint64_t bytes;   // with trailer and padding, a multiple of 4096; 0: no segment
  std::uint32_t row_count;
  std::uint32_t row_bytes;
};
static_assert(sizeof(SegmentEntry) == 40);
static_assert(std::has_unique_object_representations_v<SegmentEntry>);

// A part of the file that a batch reads whole; multiples of 4096.
struct Extent {
  std::uint64_t offset;
  std::uint64_t bytes;
};
static_assert(std::has_unique_object_representations_v<Extent>);

struct SegmentTrailer {  // right after the rows, at a multiple of 8; block checksums (u64) follow
  BatchKey key;
  std::uint64_t rows_bytes;
  std::uint64_t xxh3;  // of this trailer with the field zero, and of the block checksums
};
static_assert(sizeof(SegmentTrailer) == 32);

std::uint64_t segment_bytes_for(std::uint64_t row_count, std::uint64_t row_bytes) noexcept;

// The trailer's bytes for rows with these checksums, to stand at round_up(rows_bytes, 8).
std::vector<std::byte> build_segment_trailer(const BatchKey& key, std::uint64_t rows_bytes,
                                             std::span<const std::uint64_t> checksums);

// Throws Error(corruption) naming file, batch and offset unless the segment's bytes are what was written.
//   pool  whose threads share the checking; null: the caller's alone
void check_segment(const SegmentEntry& entry, std::span<const std::byte> segment, std::string_view file_name,
                   ThreadPool* pool = nullptr);

// Of a batch that reads `extent_bytes` of shared rows: what its trailer takes, and the trailer itself,
// padded, with a checksum for each 4 KiB.
std::uint64_t shared_trailer_bytes(std::uint64_t extent_bytes) noexcept;
std::vector<std::byte> build_shared_trailer(const BatchKey& key, std::span<const std::uint64_t> checksums);

class PackFile {
 public:
  explicit PackFile(const std::filesystem::path& path);

  const SectionFile& file() const noexcept { return file_; }
  std::span<const SegmentEntry> entries() const& noexcept { return entries_; }  // in the pool's order
  void entries() const&& = delete;                        // they live as long as the file
  bool is_shared() const noexcept { return is_shared_; }  // batches share rows, which their pages hold
  // What is read for a batch, one after the other into one buffer; nothing for a batch without such rows.
  std::span<const Extent> extents(std::size_t batch) const& noexcept {
    return std::span(extents_).subspan(first_extents_[batch],
                                       first_extents_[batch + 1] - first_extents_[batch]);
  }
  void extents(std::size_t batch) const&& = delete;
  // Throws Error(corruption) naming batch and offset unless the bytes read for a batch are what was written.
  //   pool  as of check_segment()
  void check(std::size_t batch, std::span<const std::byte> segment, ThreadPool* pool = nullptr) const;
  // Reads and checks every segment; advances `progress` by bytes.
  void verify(Progress* progress) const;

 private:
  void take_own_segments();
  void take_shared_extents();
  void check_shared(std::size_t batch, std::span<const std::byte> segment, ThreadPool* pool) const;

  SectionFile file_;
  std::vector<SegmentEntry> entries_;
  bool is_shared_ = false;
  std::vector<Extent> extents_;
  std::vector<std::uint64_t> first_extents_;  // of each batch; one more than there are batches
};

}  // namespace gneiss
