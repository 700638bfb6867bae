#include "storage/io/drive_profile.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/base/error.h"
#include "storage/base/random.h"
#include "storage/base/stopwatch.h"
#include "storage/io/write_behind.h"

namespace gneiss {
namespace {

constexpr std::uint64_t page_bytes = 4096;

double checked(double value) {
  if (!std::isfinite(value) || value < 0) fail(Kind::corruption, "a speed of {} in a drive profile", value);
  return value;
}

}  // namespace

double DrivePoint::reads_per_second() const noexcept {
  return block_bytes == 0 ? 0 : bytes_per_second / static_cast<double>(block_bytes);
}

double DriveProfile::sequential_bytes_per_second() const noexcept {
  double best = 0;
  for (const DrivePoint& point : points) {
    if (point.sequential) best = std::max(best, point.bytes_per_second);
  }
  return best;
}

double DriveProfile::random_reads_per_second(std::uint64_t block_bytes) const noexcept {
  double best = 0;
  for (const DrivePoint& point : points) {
    if (!point.sequential && point.block_bytes == block_bytes)
      best = std::max(best, point.reads_per_second());
  }
  return best;
}

double DriveProfile::bytes_lost_by_a_read() const noexcept {
  const double lasting = sequential_bytes_per_second() / random_reads_per_second(page_bytes);
  return std::max(0.0, lasting - static_cast<double>(page_bytes));
}

double DriveProfile::read_seconds(std::uint64_t pieces, std::uint64_t bytes) const noexcept {
  const double all = static_cast<double>(bytes) + static_cast<double>(pieces) * bytes_lost_by_a_read();
  return all / sequential_bytes_per_second();
}

double DriveProfile::least_seconds(std::uint64_t reads, std::uint64_t bytes) const noexcept {
  return std::max(static_cast<double>(reads) / random_reads_per_second(page_bytes),
                  static_cast<double>(bytes) / sequential_bytes_per_second());
}

DrivePoint to_point(const ReadMeasurement& measurement) {
  const LatencyHistogram& latency = measurement.cost.latency;
  return {.sequential = measurement.workload.sequential,
          .block_bytes = measurement.workload.block_bytes,
          .queue_depth = measurement.workload.queue_depth,
          .bytes_per_second = measurement.cost.bytes_per_second(),
          .latency_p50_seconds = static_cast<double>(latency.quantile_nanoseconds(0.5)) * 1e-9,
          .latency_p99_seconds = static_cast<double>(latency.quantile_nanoseconds(0.99)) * 1e-9};
}

DriveProfile measure_drive(const std::filesystem::path& file, double seconds, const std::stop_token& stop) {
  struct Case {
    bool sequential;
    std::uint64_t block_bytes;
    std::uint32_t queue_depth;
  };
  constexpr Case cases[] = {{true, 1 << 20, 1},     {true, 1 << 20, 8},      {true, 1 << 20, 32},
                            {false, page_bytes, 1}, {false, page_bytes, 32}, {false, page_bytes, 128}};
  DriveProfile profile;
  for (const Case& each : cases) {
    const ReadMeasurement measurement = measure_reads(file,
                                                      {.sequential = each.sequential,
                                                       .block_bytes = each.block_bytes,
                                                       .queue_depth = each.queue_depth,
                                                       .seconds = seconds},
                                                      stop);
    profile.engine = measurement.workload.engine;
    profile.direct = measurement.workload.direct;
    profile.points.push_back(to_point(measurement));
  }
  return profile;
}

double measure_writes(const std::filesystem::path& folder, const std::stop_token& stop) {
  constexpr std::uint64_t piece_bytes = 1U << 20;
  constexpr std::uint64_t most_bytes = 1U << 30;
  constexpr std::uint64_t least_bytes = 64U << 20;
  if (::access(folder.c_str(), W_OK) != 0) return 0;
  const std::uint64_t total_bytes = std::min(most_bytes, round_down(free_bytes(folder) / 4, piece_bytes));
  if (total_bytes < least_bytes) return 0;
  const File file = File::create_anonymous(folder);
  file.reserve(total_bytes);
  // A file without a name is opened once more by its descriptor.
  std::error_code ignored;
  const File direct = std::filesystem::exists(file.descriptor_path(), ignored)
                          ? file.reopen_direct(/*writable=*/true)
                          : File();
  WriteBehind writer(direct ? direct : file, piece_bytes, 8);
  AlignedBuffer piece(piece_bytes);
  RandomStream random(1);
  const Stopwatch clock;
  for (std::uint64_t offset = 0; offset < total_bytes; offset += piece_bytes) {
    if (stop.stop_requested()) fail(Kind::cancelled, "interrupted while the drive was measured");
    piece.as<std::uint64_t>()[0] = random.next();
    writer.write(offset, piece, piece_bytes);
  }
  writer.finish();
  file.sync();
  return static_cast<double>(total_bytes) / clock.seconds();
}

nlohmann::json to_json(const DriveProfile& profile) {
  nlohmann::json points = nlohmann::json::array();
  for (const DrivePoint& point : profile.points) {
    points.push_back({{"pattern", point.sequential ? "sequential" : "random"},
                      {"block_bytes", point.block_bytes},
                      {"queue_depth", point.queue_depth},
                      {"bytes_per_second", point.bytes_per_second},
                      {"latency_p50_seconds", point.latency_p50_seconds},
                      {"latency_p99_seconds", point.latency_p99_seconds}});
  }
  return {{"engine", profile.engine},
          {"direct", profile.direct},
          {"points", std::move(points)},
          {"write_bytes_per_second", profile.write_bytes_per_second}};
}

DriveProfile drive_profile_from_json(const nlohmann::json& json) {
  try {
    DriveProfile profile{.engine = json.at("engine"), .direct = json.at("direct"), .points = {}};
    profile.write_bytes_per_second = checked(json.value("write_bytes_per_second", 0.0));
    for (const nlohmann::json& point : json.at("points")) {
      profile.points.push_back({.sequential = point.at("pattern") == "sequential",
                                .block_bytes = point.at("block_bytes"),
                                .queue_depth = point.at("queue_depth"),
                                .bytes_per_second = checked(point.at("bytes_per_second")),
                                .latency_p50_seconds = checked(point.at("latency_p50_seconds")),
                                .latency_p99_seconds = checked(point.at("latency_p99_seconds"))});
    }
    return profile;
  } catch (const nlohmann::json::exception& error) {
    fail(Kind::corruption, "a drive profile does not read back: {}; measure the drive again", error.what());
  }
}

}  // namespace gneiss
