// The clock of the ladder: batches after a warm-up, one after the other, only what is on the clock counted.
//
// Between batches the reader drains: a millisecond in seconds, and what lies off the clock needs it.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "bench/ladder/row_source.h"

namespace gneiss::ladder {

// Batches [warm_up, warm_up + batches) of the pool's cycle are timed.
struct Window {
  std::uint64_t warm_up = 0;
  std::uint64_t batches = 0;

  std::uint64_t positions() const noexcept { return warm_up + batches; }
};

struct Measurement {
  std::uint64_t input_rows = 0;
  DeliveryCost cost;
  double seconds = 0;
  double cpu_seconds = 0;  // of the whole process, the kernel's share included
  std::vector<double> batch_seconds;
};

// verify: compares every batch, warm-up included, with rows read from `file` in a plain way, off the clock.
// Throws Error: what the source throws; corruption (verify: another row was delivered); cancelled.
Measurement measure_rows(RowSource& source, const RowLists& lists, const RowFile& file, const Window& window,
                         bool verify, const std::stop_token& stop);

// Throws Error(corruption) unless row targets[i] of `delivered` is row nodes[i] of the file.
void check_rows(const RowFile& file, const RowList& list, std::span<const std::byte> delivered);

// `diskgnn` and `gneiss`: the segments of the window's batches as training reads them, several batches in
// flight. Rows come from the preparation's cpu tier or from the segment; they are used where they lie,
// nothing is copied.
struct SegmentOptions {
  std::string engine = "auto";
  std::uint32_t queue_depth = 32;
  std::uint64_t piece_bytes = std::uint64_t{1} << 20;
};
Measurement measure_segments(const Preparation& preparation, const Window& window,
                             const SegmentOptions& options, const std::stop_token& stop);

}  // namespace gneiss::ladder
