#include "engine/tiers/cpu_tier.h"

#include <algorithm>

namespace gneiss {
namespace {

// Piece by piece, so that the page cache never holds a second copy.
AlignedBuffer sweep(const SectionFile& file) {
  const SectionEntry& entry = file.require(SectionKind::feature_rows);
  constexpr std::uint64_t piece_blocks = 8;
  AlignedBuffer rows(entry.bytes);
  if (entry.bytes == 0) return rows;
  const auto checksums = file.block_checksums(entry);
  const std::uint64_t piece = piece_blocks * entry.checksum_block_bytes;
  for (std::uint64_t offset = 0; offset < entry.bytes; offset += piece) {
    const auto bytes = rows.bytes().subspan(offset, std::min(piece, entry.bytes - offset));
    file.file().read_at(entry.offset + offset, bytes);
    file.file().drop_cache(entry.offset + offset, bytes.size());
    file.check_blocks(entry, checksums, offset, bytes);
  }
  return rows;
}

}  // namespace

CpuTier::CpuTier(const Preparation& preparation)
    : row_count_(preparation.cpu_row_count()), rows_(sweep(preparation.cpu_tier())) {}

}  // namespace gneiss
