// What a drive can do, in the few numbers that a plan needs; measured once, kept as JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "storage/io/drive_benchmark.h"

namespace gneiss {

struct DrivePoint {
  bool sequential = false;
  std::uint64_t block_bytes = 0;
  std::uint32_t queue_depth = 0;
  double bytes_per_second = 0;
  double latency_p50_seconds = 0;
  double latency_p99_seconds = 0;

  double reads_per_second() const noexcept;
  bool operator==(const DrivePoint&) const = default;
};

struct DriveProfile {
  std::string engine;  // "io_uring" or "pread"
  bool direct = false;
  std::vector<DrivePoint> points;
  double write_bytes_per_second = 0;  // in sequence, 1 MiB, 8 in flight; 0: not measured

  // The best over all points; 0 when there is none of the kind.
  double sequential_bytes_per_second() const noexcept;
  double random_reads_per_second(std::uint64_t block_bytes) const noexcept;  // at any depth

  // What the drive could have read in sequence in the time that one more random read of 4 KiB costs it.
  // Precondition: as for least_seconds().
  double bytes_lost_by_a_read() const noexcept;

  // The time in which the drive reads so many bytes in so many pieces that lie apart, the queue always full:
  // a piece costs what a random read of 4 KiB takes longer than the same bytes in sequence.
  // Precondition: as for least_seconds().
  double read_seconds(std::uint64_t pieces, std::uint64_t bytes) const noexcept;

  // The least time in which the drive does so many reads of so many bytes altogether: the larger of what
  // the number costs (at the random 4 KiB rate) and what the bytes cost (at the sequential rate).
  // Precondition: the profile holds a sequential point and a random one of 4 KiB.
  double least_seconds(std::uint64_t reads, std::uint64_t bytes) const noexcept;

  bool operator==(const DriveProfile&) const = default;
};

DrivePoint to_point(const ReadMeasurement& measurement);

// Measures sequential 1 MiB at depths 1, 8, 32 and random 4 KiB at 1, 32, 128, `seconds` each, with direct
// access where the file system allows it. Throws as measure_reads().
DriveProfile measure_drive(const std::filesystem::path& file, double seconds, const std::stop_token& stop);

// Bytes a second in sequence to a file without a name, of 1 GiB or a quarter of the free space: more than a
// drive's buffer takes. 0 where there is too little room, or no right.
double measure_writes(const std::filesystem::path& folder, const std::stop_token& stop);

nlohmann::json to_json(const DriveProfile& profile);
// Throws Error(corruption) for what to_json() cannot have written.
DriveProfile drive_profile_from_json(const nlohmann::json& json);

}  // namespace gneiss
