#include "storage/format/section_stream.h"

#include <memory>

#include "storage/base/cancel.h"
#include "storage/base/progress.h"

namespace gneiss {
namespace {

constexpr std::uint64_t largest_block_bytes = std::uint64_t{1} << 20;  // ours are 64 KiB and 1 MiB

constexpr ReadAhead to_verify{.piece_bytes = std::uint64_t{1} << 20, .pieces = 8};

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

void verify_section(const SectionFile& file, const SectionEntry& entry, Progress* progress) {
  throw_if_interrupted();
  if (entry.bytes <= to_verify.piece_bytes) {  // a ring for one read takes longer than it saves
    file.file().drop_cache(entry.offset, entry.bytes);
    static_cast<void>(file.read_section(entry));
    if (progress != nullptr) progress->advance(entry.bytes);
    return;
  }
  SequentialReader reader = stream_section(file, entry, to_verify);
  while (reader.left() > 0) {
    throw_if_interrupted();
    const std::uint64_t bytes = reader.pass();
    if (progress != nullptr) progress->advance(bytes);
  }
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

void verify_sections(const SectionFile& file, Progress* progress) {
  for (const SectionEntry& entry : file.table().entries) {
    if (entry.checksum_block_bytes != self_checked) verify_section(file, entry, progress);
  }
}

}  // namespace gneiss
