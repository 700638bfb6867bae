#include "storage/io/access_pattern.h"

#include <algorithm>
#include <chrono>

#include "storage/base/error.h"

namespace gneiss {
namespace {

using Clock = std::chrono::steady_clock;

struct Batch {
  std::uint64_t pieces_open = 0;  // submitted, not complete
  bool is_submitted = false;      // all its pieces are
  Clock::time_point start;
};

void check(const AccessPattern& pattern, const PatternOptions& options) {
  GNEISS_ASSERT(std::ranges::is_sorted(pattern.batch_ends));
  GNEISS_ASSERT(pattern.reads.empty() ||
                (!pattern.batch_ends.empty() && pattern.batch_ends.back() == pattern.reads.size()));
  for (const PlannedRead& read : pattern.reads) GNEISS_ASSERT(read.file < pattern.files.size());
  if (options.piece_bytes == 0 || options.piece_bytes % direct_io_alignment != 0 ||
      options.piece_bytes > transfer_bytes_max) {
    fail(Kind::config, "a piece of {} bytes cannot be read; choose a multiple of 4 KiB up to 1 GiB",
         options.piece_bytes);
  }
}

}  // namespace

PatternMeasurement measure_pattern(const AccessPattern& pattern, const PatternOptions& options,
                                   const std::stop_token& stop) {
  check(pattern, options);
  const auto engine =
      make_io_engine(options.engine, {.queue_depth = options.queue_depth, .direct = options.direct});
  PatternMeasurement measured;
  measured.engine = engine->name();
  measured.direct = true;
  std::vector<FileId> files;
  for (const std::filesystem::path& path : pattern.files) {
    files.push_back(engine->open(path));
    if (engine->is_direct(files.back())) continue;
    measured.direct = false;
    File::open_for_reading(path).drop_cache();
  }
  for (const PlannedRead& read : pattern.reads) {
    const std::uint64_t file_bytes = engine->file_bytes(files[read.file]);
    if (read.offset > file_bytes || read.bytes > file_bytes - read.offset) {
      fail(Kind::corruption, "{}: {} bytes at offset {} lie outside of its {} bytes; prepare again",
           pattern.files[read.file].string(), read.bytes, read.offset, file_bytes);
    }
    measured.planned_bytes += read.bytes;
  }

  ReadLoop loop(*engine, options.piece_bytes);
  std::vector<Batch> batches(pattern.batch_ends.size());
  std::size_t batch = 0;    // being submitted
  std::size_t read = 0;     // the next, or the one being split
  std::uint64_t begin = 0;  // of what is left of it, widened to 4 KiB
  bool is_split = false;
  const auto finish_if_complete = [&](Batch& each) {
    if (!each.is_submitted || each.pieces_open > 0 || each.start == Clock::time_point()) return;
    measured.batch_latency.record(static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - each.start).count()));
  };
  const auto next = [&](ReadLoop::Piece& piece) {
    for (;;) {
      while (batch < batches.size() && read == pattern.batch_ends[batch]) {
        batches[batch].is_submitted = true;
        finish_if_complete(batches[batch++]);
      }
      if (batch == batches.size() || stop.stop_requested()) return false;
      if (pattern.reads[read].bytes > 0) break;
      ++read;
    }
    const PlannedRead& planned = pattern.reads[read];
    if (!is_split) begin = round_down(planned.offset, direct_io_alignment);
    const std::uint64_t end = round_up(planned.offset + planned.bytes, direct_io_alignment);
    const std::uint64_t bytes = std::min(options.piece_bytes, end - begin);
    piece = {.file = files[planned.file], .offset = begin, .bytes = bytes, .tag = batch};
    begin += bytes;
    is_split = begin < end;
    if (!is_split) ++read;
    if (batches[batch].start == Clock::time_point()) batches[batch].start = Clock::now();
    ++batches[batch].pieces_open;
    return true;
  };
  const auto done = [&](std::uint64_t tag) {
    --batches[tag].pieces_open;
    finish_if_complete(batches[tag]);
  };
  loop.run(next, done, measured.cost);
  if (stop.stop_requested()) fail(Kind::cancelled, "interrupted while the access pattern was measured");
  return measured;
}

}  // namespace gneiss
