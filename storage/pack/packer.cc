#include "storage/pack/packer.h"

#include <algorithm>
#include <memory>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/io/write_behind.h"
#include "storage/pack/feature_scan.h"
#include "storage/pack/segment_stream.h"
#include "storage/pack/tier_image.h"

namespace gneiss {
namespace {

constexpr std::size_t piece_bytes_max = 1U << 20;
constexpr std::size_t piece_bytes_min = 256U << 10;
struct ScanShape {
  std::size_t piece_bytes;
  std::size_t batches_per_scan;
};

// 1 MiB pieces while they fit in half the budget, then smaller ones, then more scans.
ScanShape choose_scan_shape(std::size_t batch_count, std::uint64_t memory_bytes) {
  const std::uint64_t budget = memory_bytes / 2;
  const std::uint64_t fair = batch_count == 0 ? piece_bytes_max : budget / batch_count;
  const std::size_t piece = std::clamp<std::uint64_t>(round_down(fair, segment_checksum_block_bytes),
                                                      piece_bytes_min, piece_bytes_max);
  return {piece, std::max<std::size_t>(1, budget / piece)};
}

}  // namespace

std::vector<SegmentEntry> lay_out_segments(std::span<const BatchKey> keys, std::span<const BatchRows> rows,
                                           std::uint64_t row_bytes, std::uint64_t first_offset) {
  std::vector<SegmentEntry> entries;
  for (std::size_t batch = 0; batch < keys.size(); ++batch) {
    const std::uint64_t bytes = segment_bytes_for(rows[batch].disk_rows, row_bytes);
    entries.push_back({.key = keys[batch],
                       .offset = first_offset,
                       .bytes = bytes,
                       .row_count = rows[batch].disk_rows,
                       .row_bytes = static_cast<std::uint32_t>(row_bytes)});
    first_offset += bytes;
  }
  return entries;
}

PackResult pack_features(const PackTask& task, ThreadPool& pool) {
  const Stopwatch clock;
  const std::uint64_t row_bytes = task.dataset->info().row_bytes();
  const SectionFile& features = task.dataset->features();
  const SectionEntry& rows = features.require(SectionKind::feature_rows);
  SectionWriter pack(task.folder / pack_file_name, pack_magic, task.dataset->fingerprint());
  std::uint64_t total = 0;
  for (const BatchRows& batch : task.rows) total += segment_bytes_for(batch.disk_rows, row_bytes);
  const std::uint64_t first_offset = pack.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, total);
  const auto entries = lay_out_segments(task.keys, task.rows, row_bytes, first_offset);
  const File direct = pack.file().reopen_direct(/*writable=*/true);
  const File& target = direct ? direct : pack.file();

  const ScanShape shape = choose_scan_shape(entries.size(), task.memory_bytes);
  WriteBehind writer(target, shape.piece_bytes, writes_in_flight(task.memory_bytes, shape.piece_bytes));
  PackResult result{.segment_bytes = total};
  const std::uint64_t scans = std::max<std::uint64_t>(1, divide_up(entries.size(), shape.batches_per_scan));
  Progress progress("packing", scans * rows.bytes, Progress::Unit::bytes);
  TierImage cpu_tier(*task.dataset, *task.plan, task.folder);
  for (std::uint64_t scan = 0; scan < scans; ++scan) {
    const std::size_t begin = scan * shape.batches_per_scan;
    const std::size_t end = std::min(begin + shape.batches_per_scan, entries.size());
    std::vector<std::unique_ptr<SegmentStream>> streams;
    for (std::size_t batch = begin; batch < end; ++batch) {
      streams.push_back(std::make_unique<SegmentStream>(*task.lists, *task.plan, batch, entries[batch],
                                                        writer, shape.piece_bytes));
    }
    FeatureScan feature_scan(features, rows);
    RowAligner aligner(row_bytes);
    while (auto chunk = feature_scan.next()) {
      throw_if_interrupted();
      aligner.feed(
          chunk->bytes.bytes().first(chunk->size), [&](std::uint64_t node, std::span<const std::byte> bytes) {
            if (scan == 0) cpu_tier.take_rows(node, bytes);
            pool.parallel_for(streams.size(),
                              [&](std::size_t i, std::size_t) { streams[i]->take_rows(node, bytes); });
          });
      progress.advance(chunk->size);
      feature_scan.give_back(std::move(*chunk));
    }
    pool.parallel_for(streams.size(), [&](std::size_t i, std::size_t) { streams[i]->finish(); });
    writer.finish();
    ++result.scans;
    result.bytes_read += rows.bytes;
  }
  cpu_tier.finish();
  pack.write<SegmentEntry>(
      {.kind = SectionKind::segment_index, .dtype = Dtype::u32, .columns = sizeof(SegmentEntry) / 4},
      entries);
  pack.finish();
  result.seconds = clock.seconds();
  return result;
}

}  // namespace gneiss
