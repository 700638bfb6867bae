#include "engine/tiers/cpu_tier.h"

#include <algorithm>
#include <cstring>

#include "engine/tiers/stream_row.h"
#include "engine/tiers/sweep_image.h"

namespace gneiss {
namespace {

// Rows lie scattered: their lines are on the way while others are copied.
constexpr std::size_t rows_ahead = 8;
template <int for_write>
void prefetch_row(const std::byte* row, std::size_t bytes) {
  constexpr std::size_t bytes_max = 1024;  // the processor goes on by itself
  for (std::size_t at = 0; at < std::min(bytes, bytes_max); at += cache_line_bytes)
    __builtin_prefetch(row + at, for_write);
}

}  // namespace

CpuTier::CpuTier(const Preparation& preparation)
    : preparation_(preparation),
      row_count_(preparation.cpu_slot_count()),
      row_bytes_(image_row_bytes(preparation.cpu_tier())),
      rows_(row_count_ * row_bytes_),
      moves_(preparation.read_tier_moves()),
      is_moved_(moves_.size()) {
  sweep_image(preparation.cpu_tier(), rows_.bytes());
}

void CpuTier::expect(const BatchKey& key) const {
  if (!is_exchanged() || (key.epoch == epoch_ && key.batch == batch_)) return;
  fail(Kind::config,
       "preparation '{}' has residency belady: its training batches come in the pool's order, and {} is not "
       "epoch {}, batch {}; train without a shuffle, or prepare with --residency static",
       preparation_.name(), to_string(key), epoch_, batch_);
}

void CpuTier::release(const BatchKey& key, const TieredRows& input,
                      std::span<const std::uint32_t> admitted_rows,
                      std::span<const std::uint32_t> admitted_slots, ThreadPool* pool) {
  if (!is_exchanged()) return;
  GNEISS_ASSERT(key.epoch == epoch_ && key.batch == batch_);
  is_as_loaded_ = false;
  // No slot is filled twice: pieces are independent.
  constexpr std::size_t rows_at_once = 128;
  const bool streams = is_streamable(rows_.data(), row_bytes_);
  const auto fill = [&](std::size_t piece, std::size_t) {
    const std::size_t end = std::min(admitted_rows.size(), (piece + 1) * rows_at_once);
    for (std::size_t i = piece * rows_at_once; i < end; ++i) {
      if (i + rows_ahead < end) {
        prefetch_row<0>(input.row(admitted_rows[i + rows_ahead]), row_bytes_);
        if (!streams) prefetch_row<1>(slot(admitted_slots[i + rows_ahead]), row_bytes_);
      }
      const std::byte* row = input.row(admitted_rows[i]);
      if (streams) {
        stream_row(slot(admitted_slots[i]), row, row_bytes_);
      } else {
        std::memcpy(slot(admitted_slots[i]), row, row_bytes_);
      }
    }
    if (streams) end_of_streaming();
  };
  const std::size_t pieces = divide_up(admitted_rows.size(), rows_at_once);
  if (pool != nullptr) {
    pool->parallel_for(pieces, fill);
  } else {
    for (std::size_t piece = 0; piece < pieces; ++piece) fill(piece, 0);
  }
  if (++batch_ < preparation_.info().train_batches_per_epoch) return;
  batch_ = 0;
  if (++epoch_ < preparation_.info().options.sample_epochs) return;
  epoch_ = 0;
  end_cycle();
}

// Each row to the slot where the first batch of the pool looks for it.
void CpuTier::end_cycle() {
  is_moved_.assign(moves_.size(), false);
  std::vector<std::byte> carried(row_bytes_);
  std::vector<std::byte> displaced(row_bytes_);
  for (std::uint32_t start = 0; start < moves_.size(); ++start) {
    if (is_moved_[start] || moves_[start] == start) continue;
    std::memcpy(carried.data(), slot(start), row_bytes_);
    std::uint32_t from = start;
    do {
      const std::uint32_t to = moves_[from];
      std::memcpy(displaced.data(), slot(to), row_bytes_);
      std::memcpy(slot(to), carried.data(), row_bytes_);
      carried.swap(displaced);
      is_moved_[from] = true;
      from = to;
    } while (from != start);
  }
}

void CpuTier::rewind() {
  if (is_as_loaded_) return;
  sweep_image(preparation_.cpu_tier(), rows_.bytes());
  is_as_loaded_ = true;
  epoch_ = 0;
  batch_ = 0;
}

}  // namespace gneiss
