// pack.bin: for each mini-batch, exactly the disk-tier rows that it will read, contiguous.
//
// Why:     one sequential read per batch replaces thousands of random 4 KiB reads.
// Layout:  a segment starts at 4 KiB: rows, dense, in node order; then a trailer with a checksum per 64 KiB
//          of rows, read by the same read; padded to 4 KiB. A batch without such rows has no segment.
// Format:  storage/FORMAT.md, "Pack file".
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "storage/format/sample_pool.h"
#include "storage/format/section_file.h"

namespace gneiss {

inline constexpr Magic pack_magic{'G', 'N', 'E', 'I', 'S', 'P', 'A', 'K'};
inline constexpr const char* pack_file_name = "pack.bin";
inline constexpr std::uint64_t segment_checksum_block_bytes = 64U << 10;

struct SegmentEntry {
  BatchKey key;
  std::uint64_t offset;  // from the beginning of the file, a multiple of 4096
  std::uint64_t bytes;   // with trailer and padding, a multiple of 4096; 0: no segment
  std::uint32_t row_count;
  std::uint32_t row_bytes;
};
static_assert(sizeof(SegmentEntry) == 40);
static_assert(std::has_unique_object_representations_v<SegmentEntry>);

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
void check_segment(const SegmentEntry& entry, std::span<const std::byte> segment, std::string_view file_name);

class PackFile {
 public:
  explicit PackFile(const std::filesystem::path& path);

  const SectionFile& file() const noexcept { return file_; }
  std::span<const SegmentEntry> entries() const& noexcept { return entries_; }  // in the pool's order
  void entries() const&& = delete;  // they live as long as the file
  // Reads and checks every segment; advances `progress` by bytes.
  void verify(Progress* progress) const;

 private:
  SectionFile file_;
  std::vector<SegmentEntry> entries_;
};

}  // namespace gneiss
