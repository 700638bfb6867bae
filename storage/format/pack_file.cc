#include "storage/format/pack_file.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/format/section_stream.h"
#include "storage/format/segment_reader.h"

namespace gneiss {
namespace {

bool is_pack_section(SectionKind kind) {
  return kind == SectionKind::segment_index || kind == SectionKind::segments ||
         kind == SectionKind::segment_extents || kind == SectionKind::segment_extent_counts;
}

constexpr std::uint64_t page_bytes = shared_page_bytes;

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

// Calls damaged(begin, bytes), which throws, for the first block of `rows` that is not as its checksum, a u64
// each, says. Threads of `pool`, where there is one, check pieces; which block is told does not depend on
// them.
template <class Damaged>
void check_blocks(std::span<const std::byte> rows, std::uint64_t block_bytes,
                  std::span<const std::byte> checksums, ThreadPool* pool, const Damaged& damaged) {
  constexpr std::uint64_t piece_bytes = 512U << 10;  // 20 us: so long may one thread wait for another's last
  const auto check_piece = [&](std::size_t piece, std::size_t) {
    const std::uint64_t end = std::min(rows.size(), (piece + 1) * piece_bytes);
    for (std::uint64_t at = piece * piece_bytes; at < end; at += block_bytes) {
      const auto block = rows.subspan(at, std::min(block_bytes, end - at));
      std::uint64_t expected = 0;
      std::memcpy(&expected, checksums.data() + at / block_bytes * sizeof(expected), sizeof(expected));
      if (checksum(block) != expected) damaged(at, block.size());
    }
  };
  const std::size_t pieces = divide_up(rows.size(), piece_bytes);
  if (pool != nullptr) {
    pool->parallel_for(pieces, std::cref(check_piece));
  } else {
    for (std::size_t piece = 0; piece < pieces; ++piece) check_piece(piece, 0);
  }
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

void check_segment(const SegmentEntry& entry, std::span<const std::byte> segment, std::string_view file_name,
                   ThreadPool* pool) {
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
  check_blocks(
      segment.first(rows_bytes), segment_checksum_block_bytes, checksums, pool,
      [&](std::uint64_t begin, std::uint64_t bytes) {
        fail(Kind::corruption,
             "{}: {} bytes at byte {} (the segment of {}) do not match their checksum; prepare it again",
             file_name, bytes, entry.offset + begin, to_string(entry.key));
      });
}

std::uint64_t shared_trailer_bytes(std::uint64_t extent_bytes) noexcept {
  if (extent_bytes == 0) return 0;
  return round_up(sizeof(SegmentTrailer) + extent_bytes / page_bytes * sizeof(std::uint64_t), page_bytes);
}

std::vector<std::byte> build_shared_trailer(const BatchKey& key, std::span<const std::uint64_t> checksums) {
  SegmentTrailer trailer{.key = key, .rows_bytes = checksums.size() * page_bytes, .xxh3 = 0};
  trailer.xxh3 = trailer_checksum(trailer, std::as_bytes(checksums));
  std::vector<std::byte> bytes(shared_trailer_bytes(trailer.rows_bytes));
  std::memcpy(bytes.data(), &trailer, sizeof(trailer));
  std::memcpy(bytes.data() + sizeof(trailer), checksums.data(), checksums.size_bytes());
  return bytes;
}

PackFile::PackFile(const std::filesystem::path& path) : file_(path, pack_magic, is_pack_section) {
  const SectionEntry& index = file_.require(SectionKind::segment_index);
  expect_shape(index, Dtype::u32, index.rows, sizeof(SegmentEntry) / 4, file_.name());
  const AlignedBuffer bytes = file_.read_section(index);
  entries_.resize(index.rows);
  if (!entries_.empty()) std::memcpy(entries_.data(), bytes.data(), bytes.size());
  is_shared_ = file_.find(SectionKind::segment_extents) != nullptr;
  first_extents_.reserve(entries_.size() + 1);
  first_extents_.push_back(0);
  if (is_shared_) {
    take_shared_extents();
  } else {
    take_own_segments();
  }
}

void PackFile::take_own_segments() {
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
    if (entry.bytes > 0) extents_.push_back({entry.offset, entry.bytes});
    first_extents_.push_back(extents_.size());
    next += entry.bytes;
  }
}

// Extents of a batch ascend and do not overlap, so that no buffer is larger than the file.
void PackFile::take_shared_extents() {
  const SectionEntry& segments = file_.require(SectionKind::segments);
  const SectionEntry& extent_section = file_.require(SectionKind::segment_extents);
  const SectionEntry& count_section = file_.require(SectionKind::segment_extent_counts);
  expect_shape(extent_section, Dtype::u64, extent_section.rows, 2, file_.name());
  expect_shape(count_section, Dtype::u32, entries_.size(), 1, file_.name());
  const AlignedBuffer extent_bytes = file_.read_section(extent_section);
  const AlignedBuffer count_bytes = file_.read_section(count_section);
  const auto all = extent_bytes.as<Extent>();
  const auto counts = count_bytes.as<std::uint32_t>();
  const std::uint64_t end = segments.offset + segments.bytes;
  std::size_t at = 0;
  extents_.reserve(all.size() + entries_.size());
  for (std::size_t batch = 0; batch < entries_.size(); ++batch) {
    const SegmentEntry& entry = entries_[batch];
    std::uint64_t read = 0;
    std::uint64_t next = segments.offset;
    bool sound = counts[batch] <= all.size() - at && entry.row_bytes > 0 && entry.key.split <= Split::test;
    for (std::uint32_t i = 0; sound && i < counts[batch]; ++i) {
      const Extent& extent = all[at++];
      sound = extent.offset % page_bytes == 0 && extent.bytes % page_bytes == 0 && extent.bytes > 0 &&
              extent.offset >= next && extent.offset <= end && extent.bytes <= end - extent.offset;
      if (!sound) break;
      read += extent.bytes;
      next = extent.offset + extent.bytes;
      extents_.push_back(extent);
    }
    const std::uint64_t trailer = shared_trailer_bytes(read);
    sound = sound && entry.bytes == read + trailer && entry.offset % page_bytes == 0 && entry.offset <= end &&
            entry.offset >= segments.offset && trailer <= end - entry.offset &&
            entry.row_count <= read / entry.row_bytes;
    if (!sound)
      fail(Kind::corruption, "{}: an entry of the index is damaged; prepare it again", file_.name());
    if (trailer > 0) extents_.push_back({entry.offset, trailer});
    first_extents_.push_back(extents_.size());
  }
  if (at != all.size()) fail(Kind::corruption, "{}: its extents are damaged; prepare it again", file_.name());
}

void PackFile::check(std::size_t batch, std::span<const std::byte> segment, ThreadPool* pool) const {
  if (is_shared_) {
    check_shared(batch, segment, pool);
  } else {
    check_segment(entries_[batch], segment, file_.name(), pool);
  }
}

void PackFile::check_shared(std::size_t batch, std::span<const std::byte> segment, ThreadPool* pool) const {
  const SegmentEntry& entry = entries_[batch];
  const auto parts = extents(batch);
  if (parts.empty()) return;
  const auto trailer_bytes = segment.last(parts.back().bytes);
  const auto rows = segment.first(segment.size() - trailer_bytes.size());
  SegmentTrailer trailer{};
  std::memcpy(&trailer, trailer_bytes.data(), sizeof(trailer));
  const auto checksums =
      trailer_bytes.subspan(sizeof(trailer), rows.size() / page_bytes * sizeof(std::uint64_t));
  if (trailer.key != entry.key || trailer.rows_bytes != rows.size() ||
      trailer.xxh3 != trailer_checksum(trailer, checksums)) {
    fail(Kind::corruption, "{}: the checksums of {} at byte {} are damaged; prepare it again", file_.name(),
         to_string(entry.key), entry.offset);
  }
  check_blocks(rows, page_bytes, checksums, pool, [&](std::uint64_t begin, std::uint64_t bytes) {
    auto extent = parts.begin();
    for (; begin >= extent->bytes; ++extent) begin -= extent->bytes;
    fail(Kind::corruption,
         "{}: {} bytes at byte {} (rows of {}) do not match their checksum; prepare it again", file_.name(),
         bytes, extent->offset + begin, to_string(entry.key));
  });
}

void PackFile::verify(Progress* progress) const {
  verify_sections(file_, progress);
  SegmentReader segments(*this);
  for (std::size_t batch = 0; batch < entries_.size(); ++batch) {
    throw_if_interrupted();
    const auto bytes = segments.next();
    check(batch, bytes);
    if (progress != nullptr) progress->advance(bytes.size());
  }
}

}  // namespace gneiss
