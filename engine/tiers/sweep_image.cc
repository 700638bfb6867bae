#include "engine/tiers/sweep_image.h"

#include <algorithm>

namespace gneiss {
namespace {

constexpr std::uint64_t piece_blocks = 8;

// Calls target(offset, bytes) for where each piece is read to, then use(offset, piece) once it is checked.
template <class Target, class Use>
void sweep(const SectionFile& image, const Target& target, const Use& use) {
  const SectionEntry& entry = image.require(SectionKind::feature_rows);
  if (entry.bytes == 0) return;
  const auto checksums = image.block_checksums(entry);
  const std::uint64_t piece = piece_blocks * entry.checksum_block_bytes;
  for (std::uint64_t offset = 0; offset < entry.bytes; offset += piece) {
    const std::span<std::byte> bytes = target(offset, std::min(piece, entry.bytes - offset));
    image.file().read_at(entry.offset + offset, bytes);
    image.file().drop_cache(entry.offset + offset, bytes.size());
    image.check_blocks(entry, checksums, offset, bytes);
    use(offset, bytes);
  }
}

}  // namespace

void sweep_image(const SectionFile& image, std::span<std::byte> rows) {
  sweep(
      image, [&](std::uint64_t offset, std::uint64_t bytes) { return rows.subspan(offset, bytes); },
      [](std::uint64_t, std::span<std::byte>) {});
}

void sweep_image(const SectionFile& image, const TakeTierBytes& take) {
  const SectionEntry& entry = image.require(SectionKind::feature_rows);
  AlignedBuffer piece(std::min<std::uint64_t>(piece_blocks * entry.checksum_block_bytes, entry.bytes));
  sweep(image, [&](std::uint64_t, std::uint64_t bytes) { return piece.bytes().first(bytes); }, take);
}

std::uint64_t image_row_bytes(const SectionFile& image) {
  const SectionEntry& rows = image.require(SectionKind::feature_rows);
  return rows.columns * size_of(rows.dtype);
}

}  // namespace gneiss
