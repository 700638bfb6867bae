// Measures a list of reads as it is: what a preparation will ask of the drive, without training.
//
// Why:     segments and pages are read in the plan's own order and sizes; how near that comes to the drive's
//          sequential speed is what packing is for.
// Errors:  as measure_reads(); a range outside its file is Error(corruption).
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "storage/io/read_loop.h"

namespace gneiss {

struct PlannedRead {
  std::uint32_t file = 0;  // an index into AccessPattern::files
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

struct AccessPattern {
  std::vector<std::filesystem::path> files;
  std::vector<PlannedRead> reads;
  // Batch b consists of the reads from batch_ends[b - 1] (0 for b = 0) to batch_ends[b]; the last is
  // reads.size(). A batch without reads is allowed.
  std::vector<std::uint64_t> batch_ends;
};

struct PatternOptions {
  std::string engine = "auto";
  bool direct = true;
  std::uint32_t queue_depth = 32;
  std::uint64_t piece_bytes = std::uint64_t{1} << 20;  // larger reads are split; a multiple of 4 KiB
};

struct PatternMeasurement {
  std::string engine;  // that was used
  bool direct = false;
  ReadCost cost;                    // of the pieces as they were read, widened to 4 KiB
  std::uint64_t planned_bytes = 0;  // as asked for
  LatencyHistogram batch_latency;   // from a batch's first piece submitted to its last complete
};

// Reads the batches in order, the queue always full: a batch's first pieces follow the last of the batch
// before, as in a pipeline that reads ahead. Files read through the page cache are dropped from it first.
PatternMeasurement measure_pattern(const AccessPattern& pattern, const PatternOptions& options,
                                   const std::stop_token& stop);

}  // namespace gneiss
