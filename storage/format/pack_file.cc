#include "storage/format/pack_file.h"

#include <algorithm>
#include <cstring>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"

namespace gneiss {
namespace {

bool is_pack_section(SectionKind kind) {
  return kind == SectionKind::segment_index || kind == SectionKind::segments;
}

std::uint64_t block_count(std::uint64_t rows_bytes) {
  return divide_up(rows_bytes, segment_checksum_block_bytes);
}

std::uint64_t trailer_checksum(SegmentTrailer trailer, std::span<const std::byte> checksums) {
  trailer.xxh3 = 0;
  StreamChecksum stream;
  stream.update(std::as_bytes(std::span(&trailer, 1)));
  stream.update(checksums);
  return stream.value();
}

}  // namespace

std::uint64_t segment_bytes_for(std::uint64_t row_count, std::uint64_t row_bytes) noexcept {
  if (row_count == 0) return 0;
  const std::uint64_t rows_bytes = row_count * row_bytes;
  return round_up(round_up(rows_bytes, 8) + sizeof(SegmentTrailer) + 8 * block_count(rows_bytes), 4096);
}

std::vector<std::byte> build_segment_trailer(const BatchKey& key, std::uint64_t rows_bytes,
                                             std::span<const std::uint64_t> checksums) {
  GNEISS_ASSERT(checksums.size() == block_count(rows_bytes));
  SegmentTrailer trailer{.key = key, .rows_bytes = rows_bytes, .xxh3 = 0};
  trailer.xxh3 = trailer_checksum(trailer, std::as_bytes(checksums));
  std::vector<std::byte> bytes(sizeof(trailer) + checksums.size_bytes());
  std::memcpy(bytes.data(), &trailer, sizeof(trailer));
  std::memcpy(bytes.data() + sizeof(trailer), checksums.data(), checksums.size_bytes());
  return bytes;
}

void check_segment(const SegmentEntry& entry, std::span<const std::byte> segment,
                   std::string_view file_name) {
  if (entry.bytes == 0) return;
  const std::uint64_t rows_bytes = std::uint64_t{entry.row_count} * entry.row_bytes;
  GNEISS_ASSERT(segment.size() == entry.bytes &&
                entry.bytes == segment_bytes_for(entry.row_count, entry.row_bytes));
  const std::byte* at = segment.data() + round_up(rows_bytes, 8);
  SegmentTrailer trailer{};
  std::memcpy(&trailer, at, sizeof(trailer));
  const std::span checksums(at + sizeof(trailer), block_count(rows_bytes) * sizeof(std::uint64_t));
  if (trailer.key != entry.key || trailer.rows_bytes != rows_bytes ||
      trailer.xxh3 != trailer_checksum(trailer, checksums)) {
    fail(Kind::corruption, "{}: the segment of {} at byte {} is damaged; prepare it again", file_name,
         to_string(entry.key), entry.offset);
  }
  for (std::uint64_t block = 0; block < block_count(rows_bytes); ++block) {
    const std::uint64_t begin = block * segment_checksum_block_bytes;
    const auto bytes = segment.subspan(begin, std::min(segment_checksum_block_bytes, rows_bytes - begin));
    std::uint64_t expected = 0;
    std::memcpy(&expected, checksums.data() + block * sizeof(expected), sizeof(expected));
    if (checksum(bytes) != expected) {
      fail(Kind::corruption,
           "{}: {} bytes at byte {} (the segment of {}) do not match their checksum; prepare it again",
           file_name, bytes.size(), entry.offset + begin, to_string(entry.key));
    }
  }
}

PackFile::PackFile(const std::filesystem::path& path) : file_(path, pack_magic, is_pack_section) {
  const SectionEntry& index = file_.require(SectionKind::segment_index);
  expect_shape(index, Dtype::u32, index.rows, sizeof(SegmentEntry) / 4, file_.name());
  const AlignedBuffer bytes = file_.read_section(index);
  entries_.resize(index.rows);
  if (!entries_.empty()) std::memcpy(entries_.data(), bytes.data(), bytes.size());
  const SectionEntry& segments = file_.require(SectionKind::segments);
  std::uint64_t next = segments.offset;
  for (const SegmentEntry& entry : entries_) {
    // The product first: above the section it might wrap in segment_bytes_for() to a size that fits.
    const std::uint64_t rows_bytes = std::uint64_t{entry.row_count} * entry.row_bytes;
    if (entry.offset != next || entry.row_bytes == 0 || entry.key.split > Split::test ||
        rows_bytes > segments.bytes || entry.bytes != segment_bytes_for(entry.row_count, entry.row_bytes) ||
        entry.bytes > segments.offset + segments.bytes - next) {
      fail(Kind::corruption, "{}: an entry of the index is damaged; prepare it again", file_.name());
    }
    next += entry.bytes;
  }
}

void PackFile::verify(Progress* progress) const {
  file_.verify(progress);
  AlignedBuffer buffer;
  for (const SegmentEntry& entry : entries_) {
    throw_if_interrupted();
    if (buffer.size() < entry.bytes) buffer = AlignedBuffer(entry.bytes);
    const auto bytes = buffer.bytes().first(entry.bytes);
    file_.file().read_at(entry.offset, bytes);
    check_segment(entry, bytes, file_.name());
    file_.file().drop_cache(entry.offset, entry.bytes);
    if (progress != nullptr) progress->advance(entry.bytes);
  }
}

}  // namespace gneiss
