#include "tests/fuzz/seal.h"

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/format/pack_file.h"
#include "storage/format/sample_pool.h"
#include "storage/format/section_table.h"

namespace gneiss::test {
namespace {

// Empty where it does not lie in the file.
std::span<std::byte> range_of(std::span<std::byte> file, std::uint64_t offset, std::uint64_t bytes) {
  if (offset > file.size() || bytes > file.size() - offset) return {};
  return file.subspan(offset, bytes);
}

template <class T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <class T>
void store(std::span<std::byte> bytes, std::size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

// Calls visit(offset of the entry, the entry) for each that lies in the file.
template <class Visit>
void for_each_entry(std::span<std::byte> file, const Visit& visit) {
  if (file.size() < sizeof(SectionHeader)) return;
  const std::uint64_t count = load<SectionHeader>(file, 0).section_count;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 64); ++i) {
    const std::size_t at = sizeof(SectionHeader) + i * sizeof(SectionEntry);
    if (at + sizeof(SectionEntry) > file.size()) return;
    visit(at, load<SectionEntry>(file, at));
  }
}

// Calls visit(its bytes) for each Entry that the section `kind` holds.
template <class Entry, class Visit>
void for_each_indexed(std::span<std::byte> file, SectionKind kind, const Visit& visit) {
  for_each_entry(file, [&](std::size_t, const SectionEntry& section) {
    if (section.kind != kind) return;
    const auto index = range_of(file, section.offset, section.bytes);
    for (std::size_t at = 0; at + sizeof(Entry) <= index.size(); at += sizeof(Entry))
      visit(index.subspan(at, sizeof(Entry)));
  });
}

void seal_entry(std::span<std::byte> file, std::size_t at, SectionEntry entry) {
  const auto section = range_of(file, entry.offset, entry.bytes);
  if (entry.checksum_block_bytes == 0) {
    entry.xxh3 = checksum(section);
  } else if (entry.checksum_block_bytes >= 512 && entry.checksum_block_bytes != self_checked) {
    const std::uint64_t blocks = divide_up(section.size(), entry.checksum_block_bytes);
    const auto table = range_of(file, entry.checksums_offset, blocks * sizeof(std::uint64_t));
    for (std::size_t i = 0; i < table.size() / sizeof(std::uint64_t); ++i) {
      const std::size_t begin = i * entry.checksum_block_bytes;
      const std::size_t size = std::min<std::size_t>(entry.checksum_block_bytes, section.size() - begin);
      store(table, i * sizeof(std::uint64_t), checksum(section.subspan(begin, size)));
    }
    entry.xxh3 = checksum(table);
  }
  store(file, at, entry);
}

}  // namespace

void seal_sections(std::span<std::byte> file) {
  if (file.size() < sizeof(SectionHeader)) return;
  for_each_entry(file, [&](std::size_t at, const SectionEntry& entry) { seal_entry(file, at, entry); });
  auto header = load<SectionHeader>(file, 0);
  header.file_bytes = file.size();
  header.header_xxh3 = 0;
  store(file, 0, header);
  const auto bytes = range_of(file, 0, header.header_bytes);
  if (bytes.size() < sizeof(header)) return;
  header.header_xxh3 = checksum(bytes);
  store(file, 0, header);
}

void seal_pool(std::span<std::byte> file) {
  for_each_indexed<BatchEntry>(file, SectionKind::batch_index, [&](std::span<std::byte> bytes) {
    auto entry = load<BatchEntry>(bytes, 0);
    entry.frame_xxh3 = checksum(range_of(file, entry.frame_offset, entry.frame_bytes));
    entry.inputs_xxh3 = checksum(range_of(file, entry.inputs_offset, entry.inputs_bytes));
    store(bytes, 0, entry);
  });
  seal_sections(file);
}

void seal_pack(std::span<std::byte> file) {
  for_each_indexed<SegmentEntry>(file, SectionKind::segment_index, [&](std::span<std::byte> bytes) {
    const auto entry = load<SegmentEntry>(bytes, 0);
    const std::uint64_t rows_bytes = std::uint64_t{entry.row_count} * entry.row_bytes;
    if (rows_bytes == 0 || rows_bytes > file.size()) return;
    const auto rows = range_of(file, entry.offset, rows_bytes);
    std::vector<std::uint64_t> sums;
    for (std::size_t at = 0; at < rows.size(); at += segment_checksum_block_bytes)
      sums.push_back(
          checksum(rows.subspan(at, std::min<std::size_t>(segment_checksum_block_bytes, rows.size() - at))));
    if (sums.empty()) return;
    const auto trailer = build_segment_trailer(entry.key, rows_bytes, sums);
    const auto place = range_of(file, entry.offset + round_up(rows_bytes, 8), trailer.size());
    if (!place.empty()) std::ranges::copy(trailer, place.begin());
  });
  seal_sections(file);
}

std::vector<std::span<std::byte>> parts_of_sections(std::span<std::byte> file) {
  std::vector<std::span<std::byte>> parts{range_of(file, 0, sizeof(SectionHeader))};
  for_each_entry(file, [&](std::size_t at, const SectionEntry& entry) {
    parts.push_back(range_of(file, at, sizeof(SectionEntry)));
    parts.push_back(range_of(file, entry.offset, entry.bytes));
  });
  return parts;
}

}  // namespace gneiss::test
