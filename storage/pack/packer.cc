#include "storage/pack/packer.h"

#include <algorithm>
#include <memory>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/format/preparation.h"
#include "storage/io/write_behind.h"
#include "storage/pack/feature_scan.h"
#include "storage/pack/pack_checkpoint.h"
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
  // The other half is the program's; the scan's chunks and the pieces being written come out of this one.
  constexpr std::uint64_t scan_and_writes_bytes = 16U << 20;
  const std::uint64_t beyond = memory_bytes - std::min(memory_bytes, 2 * scan_and_writes_bytes);
  const std::uint64_t budget = memory_bytes / 2 - std::min(beyond / 2, scan_and_writes_bytes);
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

namespace {

// Fills the segments scan by scan. Between two pieces of a scan everything can be saved: which batches are
// done, which are in work, up to which node the scan has come, and the streams and the images there.
class SegmentPacker {
 public:
  SegmentPacker(const PackTask& task, ThreadPool& pool, std::optional<CheckpointReader> saved)
      : task_(task),
        pool_(pool),
        row_bytes_(task.dataset->info().row_bytes()),
        features_(task.dataset->features()),
        rows_(features_.require(SectionKind::feature_rows)),
        segment_bytes_(total_bytes(task.rows, row_bytes_)),
        pack_(task.folder / pack_file_name, pack_magic, task.dataset->fingerprint(),
              saved                     ? Unfinished::go_on
              : task.checkpoint_seconds ? Unfinished::keep
                                        : Unfinished::remove),
        entries_(lay_out_segments(
            task.keys, task.rows, row_bytes_,
            pack_.reserve({.kind = SectionKind::segments, .dtype = Dtype::u8}, segment_bytes_))),
        direct_(pack_.file().reopen_direct(/*writable=*/true)),
        shape_(choose_scan_shape(entries_.size(), task.memory_bytes)),
        writer_(target(), shape_.piece_bytes, writes_in_flight(task.memory_bytes, shape_.piece_bytes)),
        timer_(task.checkpoint_seconds.value_or(0)),
        tiers_(task) {
    if (saved) {
      go_on(*saved);
    } else {
      open_scan(0);
    }
    tiers_.begin();
  }

  PackResult pack() {
    const Stopwatch clock;
    const std::uint64_t later = divide_up(entries_.size() - end_, shape_.batches_per_scan) * rows_.bytes;
    Progress progress("packing", rows_.bytes + later, Progress::Unit::bytes);
    PackResult result{.segment_bytes = segment_bytes_};
    while (begin_ < entries_.size() || tiers_.is_in_work()) {
      scan(result, progress);
      open_scan(end_);
      if (task_.checkpoint_seconds) save(0);
    }
    pack_.write<SegmentEntry>(
        {.kind = SectionKind::segment_index, .dtype = Dtype::u32, .columns = sizeof(SegmentEntry) / 4},
        entries_);
    pack_.finish();
    result.seconds = clock.seconds();
    return result;
  }

 private:
  static std::uint64_t total_bytes(std::span<const BatchRows> rows, std::uint64_t row_bytes) {
    std::uint64_t total = 0;
    for (const BatchRows& batch : rows) total += segment_bytes_for(batch.disk_rows, row_bytes);
    return total;
  }
  const File& target() const noexcept { return direct_ ? direct_ : pack_.file(); }

  void open_scan(std::size_t begin) {
    open_streams(begin, std::min(begin + shape_.batches_per_scan, entries_.size()));
  }
  void open_streams(std::size_t begin, std::size_t end) {
    begin_ = begin;
    end_ = end;
    first_node_ = 0;
    streams_.clear();
    for (std::size_t batch = begin; batch < end; ++batch) {
      streams_.push_back(std::make_unique<SegmentStream>(*task_.lists, *task_.plan, batch, entries_[batch],
                                                         writer_, shape_.piece_bytes));
    }
  }

  void scan(PackResult& result, Progress& progress) {
    const auto take_rows = [&](std::uint64_t node, std::span<const std::byte> bytes) {
      tiers_.take_rows(node, bytes);
      pool_.parallel_for(streams_.size(),
                         [&](std::size_t i, std::size_t) { streams_[i]->rows().take_rows(node, bytes); });
    };
    result.bytes_read += scan_features(features_, first_node_, progress, take_rows, [&](std::uint64_t node) {
      if (task_.checkpoint_seconds && timer_.is_due()) timer_.take([&] { save(node); });
    });
    pool_.parallel_for(streams_.size(), [&](std::size_t i, std::size_t) { streams_[i]->finish(); });
    writer_.finish();
    tiers_.finish();
    ++result.scans;
  }

  // All rows of nodes below `node` have passed the scan at work.
  void save(std::uint64_t node) {
    writer_.finish();
    pool_.parallel_for(streams_.size(), [&](std::size_t i, std::size_t) {
      streams_[i]->rows().write_unfinished_piece(target());
    });
    target().sync();
    std::vector<std::uint64_t> numbers{entries_.size(), begin_, end_, node};
    tiers_.save(numbers);
    for (const auto& stream : streams_) stream->rows().save(numbers);
    write_pack_checkpoint(task_, numbers);
  }

  void go_on(CheckpointReader& saved) {
    const std::uint64_t count = entries_.size();
    if (saved.take() != count) fail(Kind::corruption, "{} has other segments", pack_.file().path());
    const std::uint64_t begin = saved.take(count);
    const std::uint64_t end = saved.take(count);
    const std::uint64_t node = saved.take(rows_.rows);
    if (begin > end) fail(Kind::corruption, "{} has other segments", pack_.file().path());
    tiers_.go_on(saved, node);
    if (end - begin > shape_.batches_per_scan) {  // less memory than then: the scan at work begins anew
      tiers_.begin_anew();
      open_scan(begin);
      return;
    }
    open_streams(begin, end);
    for (const auto& stream : streams_) stream->rows().go_on(saved, target(), node);
    first_node_ = node;
  }

  const PackTask& task_;
  ThreadPool& pool_;
  const std::uint64_t row_bytes_;
  const SectionFile& features_;
  const SectionEntry& rows_;
  const std::uint64_t segment_bytes_;
  SectionWriter pack_;
  const std::vector<SegmentEntry> entries_;
  const File direct_;
  const ScanShape shape_;
  WriteBehind writer_;
  CheckpointTimer timer_;
  TiersInScan tiers_;
  // Of the scan at work:
  std::size_t begin_ = 0;  // batches [begin_, end_)
  std::size_t end_ = 0;
  std::uint64_t first_node_ = 0;
  std::vector<std::unique_ptr<SegmentStream>> streams_;
};

}  // namespace

std::uint32_t count_scans(std::size_t batch_count, std::uint64_t memory_bytes) {
  const std::uint64_t scans =
      divide_up(batch_count, choose_scan_shape(batch_count, memory_bytes).batches_per_scan);
  return static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, scans));  // one for the tiers in memory at the least
}

PackResult pack_features(const PackTask& task, ThreadPool& pool) {
  return go_on_or_begin<SegmentPacker>(task,
                                       [&](std::optional<CheckpointReader> saved) {
                                         return std::make_unique<SegmentPacker>(task, pool, std::move(saved));
                                       })
      ->pack();
}

}  // namespace gneiss
