#include "bench/ladder/measure.h"

#include <sys/resource.h>

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/stopwatch.h"
#include "storage/io/access_pattern.h"

namespace gneiss::ladder {
namespace {

double process_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

void check_rows(const RowFile& file, const RowList& list, std::span<const std::byte> delivered) {
  const File source = File::open_for_reading(file.path);
  std::vector<std::byte> row(file.row_bytes);
  for (std::size_t i = 0; i < list.size(); ++i) {
    source.read_at(file.offset + to_index(list.nodes[i]) * file.row_bytes, row);
    if (std::ranges::equal(row, delivered.subspan(list.targets[i] * file.row_bytes, file.row_bytes)))
      continue;
    fail(Kind::corruption, "row {} of the batch is not node {} of {}", list.targets[i],
         to_index(list.nodes[i]), file.path.string());
  }
  source.drop_cache();
}

Measurement measure_rows(RowSource& source, const RowLists& lists, const RowFile& file, const Window& window,
                         bool verify, const std::stop_token& stop) {
  Measurement measured;
  AlignedBuffer target(lists.row_count_max() * file.row_bytes);
  RowList list;
  DeliveryCost at_start;
  for (std::uint64_t position = 0; position < window.positions(); ++position) {
    if (stop.stop_requested()) fail(Kind::cancelled, "interrupted while the ladder was measured");
    if (position == window.warm_up) at_start = source.cost();
    lists.read(position, list);
    source.before(position, list);
    const double cpu_before = process_cpu_seconds();
    const Stopwatch watch;
    source.deliver(position, list, target.bytes());
    const double seconds = watch.seconds();
    if (position >= window.warm_up) {
      measured.seconds += seconds;
      measured.cpu_seconds += process_cpu_seconds() - cpu_before;
      measured.input_rows += list.size();
      measured.batch_seconds.push_back(seconds);
    }
    if (verify) check_rows(file, list, target.bytes());
  }
  measured.cost = source.cost() - at_start;
  return measured;
}

Measurement measure_segments(const Preparation& preparation, const Window& window,
                             const SegmentOptions& options, const std::stop_token& stop) {
  const RowLists lists(preparation.pool(), RowOrder::ascending);
  Measurement measured;
  AccessPattern pattern;
  pattern.files = {preparation.pack().file().name()};
  for (std::uint64_t position = window.warm_up; position < window.positions(); ++position) {
    const std::size_t index = lists.pool_index(position);
    const BatchEntry& batch = preparation.pool().entries()[index];
    const SegmentEntry& segment = preparation.pack().entries()[index];
    if (segment.bytes > 0)
      pattern.reads.push_back({.file = 0, .offset = segment.offset, .bytes = segment.bytes});
    pattern.batch_ends.push_back(pattern.reads.size());
    measured.input_rows += batch.input_count;
    measured.cost.rows += batch.input_count;
    measured.cost.rows_from_cache += batch.gpu_rows() + batch.cpu_rows;
  }
  const PatternMeasurement reading = measure_pattern(
      pattern,
      {.engine = options.engine, .queue_depth = options.queue_depth, .piece_bytes = options.piece_bytes},
      stop);
  measured.cost.reads = reading.cost.reads;
  measured.cost.bytes = reading.cost.bytes;
  measured.seconds = reading.cost.seconds;
  measured.cpu_seconds = reading.cost.cpu_seconds;
  return measured;
}

}  // namespace gneiss::ladder
