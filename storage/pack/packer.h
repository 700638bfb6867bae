// Writes each batch's segment and the images of the tiers in memory in one ordered scan of features.bin.
//
// Why:     features are read once, in order; a batch's rows are in node order, so the scan meets them in
//          order, and each segment is written in large pieces.
// Memory:  per batch one piece (1 MiB while all fit in half of `memory_bytes`, else smaller, down to
//          256 KiB) and a window of its input list. Below that the batches are split over several scans.
// Crash:   with `checkpoint_seconds` what is on disk is recorded every so often in the folder, and packing
//          the same task into it goes on there, to the same files; a record that is damaged is not used.
// Source:  DiskGNN (SIGMOD 2025), feature packing; the bound on memory is ours.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "storage/base/parallel.h"
#include "storage/format/dataset.h"
#include "storage/format/pack_file.h"
#include "storage/pack/input_lists.h"
#include "storage/pack/tier_planner.h"

namespace gneiss {

struct PackTask {
  const Dataset* dataset = nullptr;
  const InputLists* lists = nullptr;  // batch i of `keys`
  const TierPlan* plan = nullptr;
  std::span<const BatchKey> keys;
  std::span<const BatchRows> rows;
  std::filesystem::path folder;  // receives pack.bin, cpu.bin and, where that tier has rows, gpu.bin
  std::uint64_t memory_bytes = 0;
  std::optional<double> checkpoint_seconds{};  // nothing: an unfinished packing leaves nothing behind
  std::uint64_t made_from = 0;  // of what its checkpoints are: those of other work are not taken up
};

struct PackResult {
  std::uint64_t segment_bytes = 0;  // all segments, trailers and padding included
  std::uint32_t scans = 0;          // of features.bin
  std::uint32_t parts = 0;       // of shared rows, put in order on the drive; 0: own segments, or in memory
  std::uint64_t bytes_read = 0;  // now, without what an earlier run has read
  double seconds = 0;
};

// Where each batch's segment will lie; offsets start at `first_offset`.
std::vector<SegmentEntry> lay_out_segments(std::span<const BatchKey> keys, std::span<const BatchRows> rows,
                                           std::uint64_t row_bytes, std::uint64_t first_offset);

// Scans of features.bin that pack_features() will make.
std::uint32_t count_scans(std::size_t batch_count, std::uint64_t memory_bytes);

// Errors: io (no space, device), corruption (features.bin does not match its checksums), cancelled.
PackResult pack_features(const PackTask& task, ThreadPool& pool);

}  // namespace gneiss
