#include "tools/bench_segments.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
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

// Sampled epochs differ in what they read only where batches share rows: of those that stand first in a group
// the rows lie together best.
std::uint32_t epochs_to_read(const Preparation& preparation) {
  const bool shares_rows = std::ranges::any_of(preparation.pool().entries(),
                                               [](const BatchEntry& entry) { return entry.page_rows > 0; });
  return shares_rows ? preparation.info().options.sample_epochs : 1;
}

// The frames and segments of the pool's first so many epochs, in its order.
AccessPattern pool_pattern(const Preparation& preparation, std::uint32_t epochs) {
  AccessPattern pattern;
  pattern.files = {preparation.pool().file().name(), preparation.pack().file().name()};
  const auto entries = preparation.pool().entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].key.split != Split::train || entries[i].key.epoch >= epochs) continue;
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

// Measures the drive on the dataset's largest file; where that is so small that the drive's own cache would
// be measured, on a file made for it. Keeps the profile in the dataset.
DriveProfile measure_dataset_drive(Dataset& dataset, const Preparation* preparation, double seconds,
                                   bool writable, std::string& measured) {
  constexpr std::uint64_t least_bytes = std::uint64_t{64} << 20;
  const SectionFile* largest = &dataset.features();
  if (preparation != nullptr && preparation->pack().file().file_bytes() > largest->file_bytes()) {
    largest = &preparation->pack().file();
  }
  std::optional<BenchmarkFile> made;
  if (writable && largest->file_bytes() < least_bytes) {
    made.emplace(dataset.folder(), 4 * least_bytes, interrupt_token());
  }
  measured = made ? dataset.folder().string() : largest->name();
  DriveProfile profile =
      measure_drive(made ? made->path() : std::filesystem::path(largest->name()), seconds, interrupt_token());
  if (writable) {
    profile.write_bytes_per_second = measure_writes(dataset.folder(), interrupt_token());
    store_drive_profile(dataset, profile);
  } else {
    spdlog::info("{} is read-only: the drive's profile is not kept", dataset.folder().string());
  }
  return profile;
}

void print_profile(const DriveProfile& profile, const std::string& measured) {
  fmt::print("Drive, measured on {}:\n  sequential {}, random 4 KiB {} reads/s{}\n", measured,
             format_rate(profile.sequential_bytes_per_second()),
             format_count(static_cast<std::uint64_t>(profile.random_reads_per_second(4096))),
             profile.write_bytes_per_second > 0
                 ? fmt::format(", written at {}", format_rate(profile.write_bytes_per_second))
                 : "");
}

}  // namespace

nlohmann::json bench_segments(const BenchSegmentsOptions& options, bool quiet) {
  const bool writable = can_write(options.dataset);
  Dataset dataset = Dataset::open(options.dataset, writable ? Catalog::Access::write : Catalog::Access::read);
  std::string measured;
  if (options.preparation.empty()) {
    const DriveProfile profile = measure_dataset_drive(dataset, nullptr, options.seconds, writable, measured);
    if (!quiet) print_profile(profile, measured);
    return {{"drive_profile", to_json(profile)},
            {"sequential_bytes_per_second", profile.sequential_bytes_per_second()}};
  }
  const Preparation preparation = Preparation::open(dataset, options.preparation);
  const DriveProfile profile =
      measure_dataset_drive(dataset, &preparation, options.seconds, writable, measured);
  const std::uint32_t epochs = epochs_to_read(preparation);
  const AccessPattern pattern = pool_pattern(preparation, epochs);
  const PatternMeasurement pool = measure_pattern(pattern, {}, interrupt_token());
  const ReadCost& cost = pool.cost;
  const std::uint64_t bytes = cost.bytes / epochs;
  const std::uint64_t reads = cost.reads / epochs;
  const double seconds = cost.seconds / epochs;
  const double predicted = profile.read_seconds(pattern.reads.size(), cost.bytes) / epochs;
  const double sequential = profile.sequential_bytes_per_second();
  const double share = sequential > 0 ? cost.bytes_per_second() / sequential : 0;
  if (!quiet) {
    print_profile(profile, measured);
    fmt::print("An epoch of preparation '{}', read as training reads it ({}{}{}):\n", options.preparation,
               pool.engine, pool.direct ? ", direct" : "",
               epochs > 1 ? fmt::format(", mean of {}", epochs) : "");
    fmt::print(
        "  {} in {} reads, {} batches: {} in {}, {:.0f} % of the sequential speed, {:.2f} CPU s/GiB\n"
        "  the drive's profile predicts {}\n",
        format_bytes(static_cast<double>(bytes)), format_count(reads), pattern.batch_ends.size() / epochs,
        format_rate(cost.bytes_per_second()), format_seconds(seconds), share * 100,
        cost.cpu_seconds_per_gib(), format_seconds(predicted));
  }
  return {{"preparation", options.preparation},
          {"drive_profile", to_json(profile)},
          {"sequential_bytes_per_second", sequential},
          {"epochs_read", epochs},
          {"epoch_bytes", bytes},
          {"epoch_reads", reads},
          {"epoch_seconds", seconds},
          {"epoch_bytes_per_second", cost.bytes_per_second()},
          {"share_of_sequential", share},
          {"predicted_seconds", predicted},
          {"cpu_seconds_per_gib", cost.cpu_seconds_per_gib()}};
}

}  // namespace gneiss
