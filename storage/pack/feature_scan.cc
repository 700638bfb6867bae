#include "storage/pack/feature_scan.h"

#include <algorithm>

namespace gneiss {
namespace {

// Whole checksum blocks: large enough to spread a chunk's rows over the batches' threads.
constexpr std::uint64_t chunk_blocks = 4;

}  // namespace

FeatureScan::FeatureScan(const SectionFile& file, const SectionEntry& rows, std::uint64_t first_offset,
                         std::optional<std::uint64_t> end_offset)
    : file_(file),
      rows_(rows),
      first_offset_(first_offset),
      end_offset_(end_offset.value_or(rows.bytes)),
      checksums_(file.block_checksums(rows)),
      empty_(2),
      full_(2) {
  for (int i = 0; i < 2; ++i) {
    empty_.push({AlignedBuffer::uninitialized(chunk_blocks * rows.checksum_block_bytes), 0, 0}, {});
  }
  reader_ = std::jthread([this](const std::stop_token& stop) { read_all(stop); });
}

FeatureScan::~FeatureScan() {
  empty_.close();
  full_.close();
}

std::optional<FeatureScan::Chunk> FeatureScan::next() {
  auto chunk = full_.pop({});
  if (!chunk && failure_) std::rethrow_exception(failure_);
  return chunk;
}

void FeatureScan::read_all(const std::stop_token& stop) {
  try {
    for (std::uint64_t offset = first_offset_; offset < end_offset_;) {
      auto chunk = empty_.pop(stop);
      if (!chunk) return;
      chunk->offset = offset;
      chunk->size = std::min<std::uint64_t>(chunk->bytes.size(), end_offset_ - offset);
      const auto bytes = chunk->bytes.bytes().first(chunk->size);
      file_.file().read_at(rows_.offset + offset, bytes);
      file_.file().drop_cache(rows_.offset + offset, bytes.size());
      file_.check_blocks(rows_, checksums_, offset, bytes);
      offset += chunk->size;
      if (!full_.push(std::move(*chunk), stop)) return;
    }
  } catch (...) {
    failure_ = std::current_exception();  // read by next() after the queue closed
  }
  full_.close();
}

}  // namespace gneiss
