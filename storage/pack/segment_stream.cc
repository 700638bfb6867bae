#include "storage/pack/segment_stream.h"

#include <array>

namespace gneiss {
namespace {
constexpr std::size_t list_window_nodes = 8U << 10;
}

SegmentStream::SegmentStream(const InputLists& lists, const TierPlan& plan, std::size_t batch,
                             const SegmentEntry& entry, WriteBehind& writer, std::size_t piece_bytes)
    : entry_(entry),
      rows_(DiskNodes(lists, plan, batch, list_window_nodes),
            {.offset = entry.offset, .row_count = entry.row_count, .row_bytes = entry.row_bytes}, writer,
            piece_bytes) {}

void SegmentStream::finish() {
  if (entry_.bytes == 0) return;
  GNEISS_ASSERT(rows_.has_all_rows());
  // The checksums of what is still in the piece belong to the trailer, which follows the rows.
  const std::vector<std::uint64_t> checksums = rows_.checksums();
  const std::uint64_t rows_bytes = rows_.taken_bytes();
  static constexpr std::array<std::byte, direct_io_alignment> zeros{};
  rows_.append(std::span(zeros).first(round_up(rows_bytes, 8) - rows_bytes));
  rows_.append(build_segment_trailer(entry_.key, rows_bytes, checksums));
  rows_.append(std::span(zeros).first(entry_.bytes - rows_.taken_bytes()));
  rows_.flush();
  GNEISS_ASSERT(rows_.taken_bytes() == entry_.bytes);
}

}  // namespace gneiss
