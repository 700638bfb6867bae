#include "tools/bench_segments.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/units.h"
#include "storage/format/drive_record.h"
#include "storage/format/preparation.h"
#include "storage/io/access_pattern.h"
#include "storage/io/drive_benchmark.h"

namespace gneiss {
namespace {

// The frames and segments of the pool's first epoch, in its order.
AccessPattern epoch_pattern(const Preparation& preparation) {
  AccessPattern pattern;
  pattern.files = {preparation.pool().file().name(), preparation.pack().file().name()};
  const auto entries = preparation.pool().entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].key.split != Split::train || entries[i].key.epoch != 0) continue;
    pattern.reads.push_back(
        {.file = 0, .offset = entries[i].frame_offset, .bytes = round_up(entries[i].frame_bytes, 4096)});
    for (const Extent& extent : preparation.pack().extents(i)) {
      pattern.reads.push_back({.file = 1, .offset = extent.offset, .bytes = extent.bytes});
    }
    pattern.batch_ends.push_back(pattern.reads.size());
  }
  return pattern;
}

bool can_write(const std::string& dataset) { return ::access((dataset + "/catalog").c_str(), W_OK) == 0; }

}  // namespace

nlohmann::json bench_segments(const BenchSegmentsOptions& options, bool quiet) {
  const bool writable = can_write(options.dataset);
  Dataset dataset = Dataset::open(options.dataset, writable ? Catalog::Access::write : Catalog::Access::read);
  const Preparation preparation = Preparation::open(dataset, options.preparation);
  // The largest file of the dataset; where that is so small that the drive's own cache would be measured, a
  // file made for it.
  constexpr std::uint64_t least_bytes = std::uint64_t{64} << 20;
  const bool pack_is_larger = preparation.pack().file().file_bytes() > dataset.features().file_bytes();
  const SectionFile& largest = pack_is_larger ? preparation.pack().file() : dataset.features();
  std::optional<BenchmarkFile> made;
  if (writable && largest.file_bytes() < least_bytes) {
    made.emplace(options.dataset, 4 * least_bytes, interrupt_token());
  }
  const std::string measured = made ? options.dataset : largest.name();
  const DriveProfile profile = measure_drive(made ? made->path() : std::filesystem::path(largest.name()),
                                             options.seconds, interrupt_token());
  if (writable) {
    store_drive_profile(dataset, profile);
  } else {
    spdlog::info("{} is read-only: the drive's profile is not kept", options.dataset);
  }
  const AccessPattern pattern = epoch_pattern(preparation);
  const PatternMeasurement epoch = measure_pattern(pattern, {}, interrupt_token());
  const double sequential = profile.sequential_bytes_per_second();
  const double share = sequential > 0 ? epoch.cost.bytes_per_second() / sequential : 0;
  if (!quiet) {
    fmt::print("Drive, measured on {}:\n  sequential {}, random 4 KiB {} reads/s\n", measured,
               format_rate(sequential),
               format_count(static_cast<std::uint64_t>(profile.random_reads_per_second(4096))));
    fmt::print("An epoch of preparation '{}', read as training reads it ({}{}):\n", options.preparation,
               epoch.engine, epoch.direct ? ", direct" : "");
    fmt::print("  {} in {} reads, {} batches: {} in {}, {:.0f} % of the sequential speed, {:.2f} CPU s/GiB\n",
               format_bytes(static_cast<double>(epoch.cost.bytes)), format_count(epoch.cost.reads),
               pattern.batch_ends.size(), format_rate(epoch.cost.bytes_per_second()),
               format_seconds(epoch.cost.seconds), share * 100, epoch.cost.cpu_seconds_per_gib());
  }
  return {{"preparation", options.preparation},
          {"drive_profile", to_json(profile)},
          {"sequential_bytes_per_second", sequential},
          {"epoch_bytes", epoch.cost.bytes},
          {"epoch_reads", epoch.cost.reads},
          {"epoch_seconds", epoch.cost.seconds},
          {"epoch_bytes_per_second", epoch.cost.bytes_per_second()},
          {"share_of_sequential", share},
          {"cpu_seconds_per_gib", epoch.cost.cpu_seconds_per_gib()}};
}

}  // namespace gneiss
