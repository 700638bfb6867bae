#include "storage/format/section_table.h"

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

// The checksum field is the last of SectionHeader: it counts as zero.
std::uint64_t header_checksum(std::span<const std::byte> header) {
  constexpr std::array<std::byte, sizeof(std::uint64_t)> zero{};
  constexpr std::size_t field = offsetof(SectionHeader, header_xxh3);
  static_assert(field + sizeof(std::uint64_t) == sizeof(SectionHeader));
  StreamChecksum stream;
  stream.update(header.first(field));
  stream.update(zero);
  stream.update(header.subspan(sizeof(SectionHeader)));
  return stream.value();
}

// The kinds whose parts carry checksums of their own: no other section may claim to.
bool may_be_self_checked(SectionKind kind) { return kind == SectionKind::segments || is_optional(kind); }

bool is_power_of_two(std::uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

// Whether [offset, offset + bytes) lies within [begin, end), without overflow.
bool lies_within(std::uint64_t offset, std::uint64_t bytes, std::uint64_t begin, std::uint64_t end) {
  return offset >= begin && offset <= end && bytes <= end - offset;
}

void check_entry(const SectionEntry& entry, const SectionHeader& header, std::string_view name) {
  const auto kind = static_cast<std::uint32_t>(entry.kind);
  const std::uint64_t element_bytes = size_of(entry.dtype);
  if (element_bytes == 0) fail(Kind::corruption, "{}: section {} has an unknown dtype", name, kind);
  if (entry.offset % header.alignment != 0 ||
      !lies_within(entry.offset, entry.bytes, header.header_bytes, header.file_bytes)) {
    fail(Kind::corruption, "{}: section {} ({} bytes at {}) does not lie in the file's {} bytes", name, kind,
         entry.bytes, entry.offset, header.file_bytes);
  }
  if (entry.checksum_block_bytes == self_checked) {
    if (!may_be_self_checked(entry.kind))
      fail(Kind::corruption, "{}: section {} has no checksum", name, kind);
    return;  // its shape is what its index says
  }
  unsigned __int128 bytes = entry.rows;
  bytes *= entry.columns;  // below 2^128; times 8 may wrap only if already far above any size
  if (bytes > entry.bytes || bytes * element_bytes != entry.bytes) {
    fail(Kind::corruption, "{}: section {} has {} bytes, its shape {} x {} says otherwise", name, kind,
         entry.bytes, entry.rows, entry.columns);
  }
  if (entry.checksum_block_bytes != 0) {
    const std::uint64_t table_bytes =
        divide_up(entry.bytes, entry.checksum_block_bytes) * sizeof(std::uint64_t);
    if (entry.checksum_block_bytes < 512 ||
        !lies_within(entry.checksums_offset, table_bytes, header.header_bytes, header.file_bytes)) {
      fail(Kind::corruption, "{}: the checksums of section {} do not lie in the file", name, kind);
    }
  }
}

}  // namespace

std::uint64_t header_bytes_for(std::size_t section_count, std::uint64_t alignment) noexcept {
  return round_up(sizeof(SectionHeader) + section_count * sizeof(SectionEntry), alignment);
}

std::vector<std::byte> build_section_table(const Magic& magic, std::uint64_t alignment,
                                           std::uint64_t file_bytes, std::uint64_t made_from,
                                           std::span<const SectionEntry> entries) {
  GNEISS_ASSERT(entries.size() <= section_count_max && is_power_of_two(alignment));
  std::vector<std::byte> bytes(header_bytes_for(entries.size(), alignment));
  SectionHeader header{};
  header.magic = magic;
  header.version = format_version;
  header.header_bytes = static_cast<std::uint32_t>(bytes.size());
  header.section_count = static_cast<std::uint32_t>(entries.size());
  header.alignment = static_cast<std::uint32_t>(alignment);
  header.file_bytes = file_bytes;
  header.made_from = made_from;
  for (const SectionEntry& entry : entries) check_entry(entry, header, "a file about to be written");
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (!entries.empty()) std::memcpy(bytes.data() + sizeof(header), entries.data(), entries.size_bytes());
  header.header_xxh3 = header_checksum(bytes);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

const SectionEntry* SectionTable::find(SectionKind kind, std::uint16_t store) const noexcept {
  const auto found = std::ranges::find_if(
      entries, [&](const SectionEntry& entry) { return entry.kind == kind && entry.store == store; });
  return found == entries.end() ? nullptr : &*found;
}

std::uint32_t checked_header_bytes(std::span<const std::byte> first_bytes, const Magic& magic,
                                   std::uint64_t file_bytes, std::string_view name) {
  SectionHeader header{};
  if (first_bytes.size() < sizeof(header)) {
    fail(Kind::corruption, "{} has {} bytes, too few for a header; it was cut short", name,
         first_bytes.size());
  }
  std::memcpy(&header, first_bytes.data(), sizeof(header));
  if (header.magic != magic) {
    fail(Kind::corruption, "{} does not begin with '{}'; it is another kind of file or damaged", name,
         std::string_view(magic.data(), magic.size()));
  }
  if (header.file_bytes != file_bytes) {
    fail(Kind::corruption, "{} has {} bytes, its header says {}; it was cut short or extended", name,
         file_bytes, header.file_bytes);
  }
  const bool plausible = is_power_of_two(header.alignment) && header.alignment >= frame_section_alignment &&
                         header.alignment <= file_section_alignment &&
                         header.section_count <= section_count_max &&
                         header.header_bytes == header_bytes_for(header.section_count, header.alignment) &&
                         header.header_bytes <= file_bytes;
  if (!plausible) fail(Kind::corruption, "{}: the header is damaged", name);
  return header.header_bytes;
}

SectionTable parse_section_table(std::span<const std::byte> bytes, const Magic& magic,
                                 std::uint64_t file_bytes, std::string_view name,
                                 bool (*is_known)(SectionKind)) {
  const std::uint32_t header_bytes = checked_header_bytes(bytes, magic, file_bytes, name);
  if (bytes.size() < header_bytes) fail(Kind::corruption, "{} was cut short within its header", name);
  bytes = bytes.first(header_bytes);
  SectionTable table;
  std::memcpy(&table.header, bytes.data(), sizeof(SectionHeader));
  if (header_checksum(bytes) != table.header.header_xxh3) {
    fail(Kind::corruption, "{}: the header does not match its checksum; the file is damaged", name);
  }
  // Behind the checksum, which every version has in the same place: a flipped bit makes no newer version.
  if (table.header.version != format_version) {
    fail(Kind::input, "{} has format version {}, this program reads version {}; {}", name,
         table.header.version, format_version,
         table.header.version > format_version ? "use a newer gneiss"
                                               : "import or prepare it again with this gneiss");
  }
  table.entries.resize(table.header.section_count);
  if (!table.entries.empty()) {
    std::memcpy(table.entries.data(), bytes.data() + sizeof(SectionHeader),
                table.entries.size() * sizeof(SectionEntry));
  }
  for (const SectionEntry& entry : table.entries) {
    if (!is_known(entry.kind) && !is_optional(entry.kind)) {
      fail(Kind::input, "{} holds a section of kind {} that this program does not know; use a newer gneiss",
           name, static_cast<std::uint32_t>(entry.kind));
    }
    // find() knows neither: what belongs to another node or edge type must not pass for the only one.
    if ((entry.node_type != 0 || entry.edge_type != 0) && !is_optional(entry.kind)) {
      fail(Kind::input, "{} holds section {} of node type {} and edge type {}; use a newer gneiss", name,
           static_cast<std::uint32_t>(entry.kind), entry.node_type, entry.edge_type);
    }
    check_entry(entry, table.header, name);
    if (table.find(entry.kind, entry.store) != &entry && !is_optional(entry.kind)) {
      fail(Kind::corruption, "{} holds section {} twice; the file is damaged", name,
           static_cast<std::uint32_t>(entry.kind));
    }
  }
  return table;
}

void expect_shape(const SectionEntry& entry, Dtype dtype, std::uint64_t rows, std::uint64_t columns,
                  std::string_view name) {
  if (entry.dtype != dtype || entry.rows != rows || entry.columns != columns) {
    fail(Kind::corruption, "{}: section {} is {} {} x {}, expected {} {} x {}", name,
         static_cast<std::uint32_t>(entry.kind), name_of(entry.dtype), entry.rows, entry.columns,
         name_of(dtype), rows, columns);
  }
}

}  // namespace gneiss
