#include "storage/pack/packer.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "storage/base/bounded_queue.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/format/preparation.h"
#include "storage/pack/segment_stream.h"

namespace gneiss {
namespace {

constexpr std::size_t piece_bytes_max = 1U << 20;
constexpr std::size_t piece_bytes_min = 256U << 10;
// A chunk of whole checksum blocks: large enough to spread its rows over the batches' threads.
constexpr std::uint64_t chunk_blocks = 4;

struct Chunk {
  AlignedBuffer bytes;
  std::uint64_t offset = 0;  // within the section
  std::size_t size = 0;
};

// Reads the feature section in order, one chunk ahead of the packer, and checks it.
class FeatureScan {
 public:
  FeatureScan(const SectionFile& file, const SectionEntry& rows)
      : file_(file), rows_(rows), checksums_(file.block_checksums(rows)), empty_(2), full_(2) {
    for (int i = 0; i < 2; ++i)
      empty_.push({AlignedBuffer(chunk_blocks * rows.checksum_block_bytes), 0, 0}, {});
    reader_ = std::jthread([this](const std::stop_token& stop) { read_all(stop); });
  }
  ~FeatureScan() {
    empty_.close();
    full_.close();
  }

  std::optional<Chunk> next() {
    auto chunk = full_.pop({});
    if (!chunk && failure_) std::rethrow_exception(failure_);
    return chunk;
  }
  void give_back(Chunk chunk) { empty_.push(std::move(chunk), {}); }

 private:
  void read_all(const std::stop_token& stop) {
    try {
      for (std::uint64_t offset = 0; offset < rows_.bytes;) {
        auto chunk = empty_.pop(stop);
        if (!chunk) return;
        chunk->offset = offset;
        chunk->size = std::min<std::uint64_t>(chunk->bytes.size(), rows_.bytes - offset);
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

  const SectionFile& file_;
  const SectionEntry& rows_;
  const std::vector<std::uint64_t> checksums_;
  BoundedQueue<Chunk> empty_;
  BoundedQueue<Chunk> full_;
  std::exception_ptr failure_;
  std::jthread reader_;
};

// Hands on whole rows although chunks end anywhere: the bytes of a row cut in two are joined.
class RowAligner {
 public:
  explicit RowAligner(std::uint64_t row_bytes) : row_bytes_(row_bytes) {}

  // Calls use(first_node, rows) at most twice: for the joined row, then for the whole rows in `bytes`.
  template <class Use>
  void feed(std::span<const std::byte> bytes, const Use& use) {
    if (!cut_.empty()) {
      const std::size_t take = std::min<std::size_t>(row_bytes_ - cut_.size(), bytes.size());
      cut_.insert(cut_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (cut_.size() < row_bytes_) return;
      use(node_++, std::span<const std::byte>(cut_));
      cut_.clear();
    }
    const std::size_t whole = round_down(bytes.size(), row_bytes_);
    if (whole > 0) use(node_, bytes.first(whole));
    node_ += whole / row_bytes_;
    cut_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(whole), bytes.end());
  }

 private:
  std::uint64_t row_bytes_;
  std::uint64_t node_ = 0;
  std::vector<std::byte> cut_;
};

// Streams the cpu tier's rows, which a scan meets in slot order.
class CpuTierImage {
 public:
  CpuTierImage(const PackTask& task, std::uint64_t row_bytes)
      : nodes_(task.plan->cpu_nodes),
        moves_(task.plan->cycle_moves),
        row_bytes_(row_bytes),
        file_(task.folder / cpu_tier_file_name, cpu_tier_magic, task.dataset->fingerprint()) {
    file_.begin({.kind = SectionKind::feature_rows,
                 .dtype = task.dataset->info().feature_dtype,
                 .columns = task.dataset->info().feature_dim,
                 .checksum_block_bytes = feature_checksum_block_bytes});
  }
  void take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
    const std::uint64_t end = first_node + rows.size() / row_bytes_;
    for (; next_ < nodes_.size() && to_index(nodes_[next_]) < end; ++next_) {
      file_.append(rows.subspan((to_index(nodes_[next_]) - first_node) * row_bytes_, row_bytes_));
    }
  }
  void finish() {
    GNEISS_ASSERT(next_ == nodes_.size());
    file_.end();
    file_.write<NodeId>({.kind = SectionKind::tier_nodes, .dtype = Dtype::u32}, nodes_);
    if (!moves_.empty()) {
      file_.write<std::uint32_t>({.kind = SectionKind::tier_moves, .dtype = Dtype::u32}, moves_);
    }
    file_.finish();
  }

 private:
  std::span<const NodeId> nodes_;
  std::span<const std::uint32_t> moves_;
  std::uint64_t row_bytes_;
  SectionWriter file_;
  std::size_t next_ = 0;
};

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
  PackResult result{.segment_bytes = total};
  const std::uint64_t scans = std::max<std::uint64_t>(1, divide_up(entries.size(), shape.batches_per_scan));
  Progress progress("packing", scans * rows.bytes, Progress::Unit::bytes);
  CpuTierImage cpu_tier(task, row_bytes);
  for (std::uint64_t scan = 0; scan < scans; ++scan) {
    const std::size_t begin = scan * shape.batches_per_scan;
    const std::size_t end = std::min(begin + shape.batches_per_scan, entries.size());
    std::vector<std::unique_ptr<SegmentStream>> streams;
    for (std::size_t batch = begin; batch < end; ++batch) {
      streams.push_back(std::make_unique<SegmentStream>(*task.lists, *task.plan, batch, entries[batch],
                                                        target, shape.piece_bytes));
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
