#include "storage/format/section_stream.h"

#include <memory>

namespace gneiss {
namespace {

constexpr std::uint64_t largest_block_bytes = std::uint64_t{1} << 20;  // ours are 64 KiB and 1 MiB

SequentialReader::Check block_check(const SectionFile& file, const SectionEntry& entry) {
  return [&file, entry, checksums = file.block_checksums(entry)](std::uint64_t offset,
                                                                 std::span<const std::byte> bytes) {
    file.check_blocks(entry, checksums, offset, bytes);
  };
}

SequentialReader::Check whole_check(const SectionFile& file, const SectionEntry& entry) {
  return [&file, entry, stream = std::make_shared<StreamChecksum>()](std::uint64_t offset,
                                                                     std::span<const std::byte> bytes) {
    stream->update(bytes);
    if (offset + bytes.size() < entry.bytes || stream->value() == entry.xxh3) return;
    fail(Kind::corruption, "{}: section {} at byte {} does not match its checksum; the file is damaged",
         file.name(), static_cast<std::uint32_t>(entry.kind), entry.offset);
  };
}

}  // namespace

SequentialReader stream_section(const SectionFile& file, const SectionEntry& entry, ReadAhead ahead) {
  const std::uint64_t block = entry.checksum_block_bytes;
  if (entry.offset % direct_io_alignment != 0 || block % direct_io_alignment != 0 ||
      block > largest_block_bytes) {
    fail(Kind::corruption, "{}: section {} at byte {} is not where or how this program writes it",
         file.name(), static_cast<std::uint32_t>(entry.kind), entry.offset);
  }
  if (block > 0) ahead.piece_bytes = round_up(ahead.piece_bytes, block);
  return {FileRange{.path = file.name(), .offset = entry.offset, .bytes = entry.bytes}, ahead,
          block > 0 ? block_check(file, entry) : whole_check(file, entry)};
}

}  // namespace gneiss
