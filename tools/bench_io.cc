#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/memory_limit.h"
#include "storage/base/parallel.h"
#include "storage/base/units.h"
#include "storage/io/drive_benchmark.h"
#include "storage/io/drive_profile.h"
#include "tools/bench_segments.h"
#include "tools/commands.h"
#include "tools/machine.h"
#include "tools/output_files.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct BenchIoOptions {
  std::string path;
  std::string size = "1GiB";
  double seconds = 2;
  std::vector<std::string> engines;
  std::vector<std::string> patterns{"sequential", "random"};
  std::vector<std::string> access{"direct"};
  std::vector<std::string> block_sizes;
  std::vector<std::uint32_t> queue_depths;
  bool json = false;
  std::string summary;
  BenchSegmentsOptions segments;
};

template <class T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

// Every combination of what was asked for; where block sizes and depths were not, those that say most.
std::vector<ReadWorkload> list_workloads(const BenchIoOptions& options) {
  std::vector<std::string> engines = options.engines;
  if (engines.empty()) engines = {"io_uring", "pread", "mmap"};
  std::vector<ReadWorkload> workloads;
  for (const std::string& engine : engines) {
    for (const std::string& access : options.access) {
      // A mapping always goes through the page cache and knows no depth.
      if (engine == "mmap" && access != options.access.front()) continue;
      for (const std::string& pattern : options.patterns) {
        const bool is_sequential = pattern == "sequential";
        std::vector<std::string> blocks = options.block_sizes;
        if (blocks.empty()) blocks = {is_sequential ? "1MiB" : "4KiB"};
        std::vector<std::uint32_t> depths = options.queue_depths;
        if (depths.empty()) {
          depths = is_sequential ? std::vector<std::uint32_t>{1, 8, 32}
                                 : std::vector<std::uint32_t>{1, 8, 32, 128};
        }
        if (engine == "mmap") depths = {1};
        for (const std::string& block : blocks) {
          for (const std::uint32_t depth : depths) {
            workloads.push_back({.engine = engine,
                                 .direct = access == "direct" && engine != "mmap",
                                 .sequential = is_sequential,
                                 .block_bytes = parse_bytes(block, "--block-size"),
                                 .queue_depth = depth,
                                 .seconds = options.seconds});
          }
        }
      }
    }
  }
  return workloads;
}

constexpr std::string_view heading =
    "engine    access    pattern          block  depth        MB/s       reads/s        p50        p95       "
    " p99"
    "        max  CPU s/GiB\n";

std::string format_latency(const LatencyHistogram& latency, double share) {
  const auto nanoseconds = static_cast<double>(latency.quantile_nanoseconds(share));
  if (nanoseconds < 1e6) return fmt::format("{:.1f} us", nanoseconds * 1e-3);
  return fmt::format("{:.2f} ms", nanoseconds * 1e-6);
}

std::string format_row(const ReadMeasurement& measured) {
  const ReadWorkload& workload = measured.workload;
  const ReadCost& cost = measured.cost;
  return fmt::format(
      "{:<9} {:<9} {:<10} {:>11} {:>6} {:>11.1f} {:>13.0f} {:>10} {:>10} {:>10} {:>10} {:>10.3f}\n",
      workload.engine, workload.direct ? "direct" : "buffered", workload.sequential ? "sequential" : "random",
      format_bytes(static_cast<double>(workload.block_bytes)), workload.queue_depth,
      cost.bytes_per_second() * 1e-6, cost.reads_per_second(), format_latency(cost.latency, 0.5),
      format_latency(cost.latency, 0.95), format_latency(cost.latency, 0.99), format_latency(cost.latency, 1),
      cost.cpu_seconds_per_gib());
}

nlohmann::json to_json(const ReadMeasurement& measured) {
  const ReadWorkload& workload = measured.workload;
  const ReadCost& cost = measured.cost;
  const auto seconds = [&](double share) {
    return static_cast<double>(cost.latency.quantile_nanoseconds(share)) * 1e-9;
  };
  return {{"engine", workload.engine},
          {"access", workload.direct ? "direct" : "buffered"},
          {"pattern", workload.sequential ? "sequential" : "random"},
          {"block_bytes", workload.block_bytes},
          {"queue_depth", workload.queue_depth},
          {"seconds", cost.seconds},
          {"reads", cost.reads},
          {"bytes", cost.bytes},
          {"bytes_per_second", cost.bytes_per_second()},
          {"reads_per_second", cost.reads_per_second()},
          {"latency_p50_seconds", seconds(0.5)},
          {"latency_p95_seconds", seconds(0.95)},
          {"latency_p99_seconds", seconds(0.99)},
          {"latency_max_seconds", seconds(1)},
          {"cpu_seconds", cost.cpu_seconds},
          {"cpu_seconds_per_gib", cost.cpu_seconds_per_gib()}};
}

const ReadMeasurement* find_best(const std::vector<ReadMeasurement>& all, bool sequential,
                                 std::optional<std::uint64_t> block_bytes) {
  const ReadMeasurement* best = nullptr;
  for (const ReadMeasurement& each : all) {
    if (each.workload.sequential != sequential) continue;
    if (block_bytes && each.workload.block_bytes != *block_bytes) continue;
    if (best == nullptr || each.cost.bytes_per_second() > best->cost.bytes_per_second()) best = &each;
  }
  return best;
}

std::string format_best(const std::vector<ReadMeasurement>& all) {
  std::string line;
  const auto where = [](const ReadMeasurement& each) {
    return fmt::format("{}, {}, depth {}", each.workload.engine,
                       format_bytes(static_cast<double>(each.workload.block_bytes)),
                       each.workload.queue_depth);
  };
  if (const ReadMeasurement* best = find_best(all, true, std::nullopt)) {
    line += fmt::format("sequential {} ({})", format_rate(best->cost.bytes_per_second()), where(*best));
  }
  if (const ReadMeasurement* best = find_best(all, false, 4096)) {
    line += fmt::format("{}random 4 KiB {} reads/s = {} ({})", line.empty() ? "" : "; ",
                        format_count(static_cast<std::uint64_t>(best->cost.reads_per_second())),
                        format_rate(best->cost.bytes_per_second()), where(*best));
  }
  return line.empty() ? line : "Best: " + line + "\n";
}

// A preparation's own reads instead of made-up ones.
void run_bench_segments(BenchIoOptions& options) {
  options.segments.seconds = options.seconds;
  nlohmann::json summary = bench_segments(options.segments, options.json);
  summary["machine"] = describe_machine();
  if (options.json) fmt::print("{}\n", summary.dump(2));
  write_summary(options.summary, summary);
}

void run_bench_io(const BenchIoOptions& options) {
  const std::vector<ReadWorkload> workloads = list_workloads(options);
  std::optional<BenchmarkFile> own;
  std::filesystem::path path = options.path;
  if (std::filesystem::is_directory(path)) {
    own.emplace(path, parse_bytes(options.size, "--size"), interrupt_token());
    path = own->path();
  }
  const std::uint64_t file_bytes = File::open_for_reading(path).size();
  const std::string machine = describe_machine();
  if (!options.json) {
    fmt::print("{}\n{}: {} of test data, {} s a row, page cache dropped before buffered reads and mmap\n\n{}",
               machine, options.path, format_bytes(static_cast<double>(file_bytes)), options.seconds,
               heading);
    std::fflush(stdout);
  }
  std::vector<ReadMeasurement> all;
  std::vector<std::string> refused;
  for (const ReadWorkload& workload : workloads) {
    if (contains(refused, workload.engine)) continue;
    try {
      all.push_back(measure_reads(path, workload, interrupt_token()));
    } catch (const Error& error) {
      // One that was asked for by name must run; the default list is what this machine can do.
      const bool is_refusal = error.kind() == Kind::io && workload.engine == "io_uring" && all.empty();
      if (!is_refusal || !options.engines.empty()) throw;
      spdlog::warn("{}; measured without it", error.what());
      refused.push_back(workload.engine);
      continue;
    }
    if (options.json) continue;
    fmt::print("{}", format_row(all.back()));
    std::fflush(stdout);
  }

  nlohmann::json rows = nlohmann::json::array();
  for (const ReadMeasurement& each : all) rows.push_back(to_json(each));
  nlohmann::json summary{{"machine", machine},         {"path", options.path},
                         {"file_bytes", file_bytes},   {"measurements", std::move(rows)},
                         {"refused_engines", refused}, {"peak_memory_bytes", peak_resident_bytes()}};
  if (const ReadMeasurement* best = find_best(all, true, std::nullopt)) {
    summary["sequential_bytes_per_second"] = best->cost.bytes_per_second();
  }
  if (const ReadMeasurement* best = find_best(all, false, 4096)) {
    summary["random_4k_reads_per_second"] = best->cost.reads_per_second();
  }
  if (options.json) {
    fmt::print("{}\n", summary.dump(2));
  } else {
    fmt::print("\n{}", format_best(all));
  }
  write_summary(options.summary, summary);
}

}  // namespace

void register_bench_io(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand("io", "Measure a drive: throughput, latency and processor time");
  const auto options = std::make_shared<BenchIoOptions>();
  command
      ->add_option("--path", options->path,
                   "Folder on the drive (a test file is made there and vanishes), "
                   "or a file to read as it is")
      ->type_name("PATH")
      ->check(CLI::ExistingPath);
  command
      ->add_option("--dataset", options->segments.dataset,
                   "Measure the drive on its files and keep the profile in it, for 'gneiss prepare'; with "
                   "--preparation: read as its training epochs do, against the drive's best")
      ->type_name("DIR");
  command
      ->add_option("--preparation", options->segments.preparation, "The preparation whose reads are measured")
      ->type_name("NAME");
  command->add_option("--size", options->size, "Size of the test file, with unit")->capture_default_str();
  command->add_option("--seconds", options->seconds, "Time for each row, in seconds")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
  command
      ->add_option("--engine", options->engines, "List of auto, io_uring, pread, mmap [io_uring,pread,mmap]")
      ->delimiter(',')
      ->check(CLI::IsMember({"auto", "io_uring", "pread", "mmap"}));
  command->add_option("--pattern", options->patterns, "List of sequential, random [both]")
      ->delimiter(',')
      ->check(CLI::IsMember({"sequential", "random"}));
  command
      ->add_option("--access", options->access, "List of direct, buffered [direct]; mmap is always buffered")
      ->delimiter(',')
      ->check(CLI::IsMember({"direct", "buffered"}));
  command
      ->add_option("--block-size", options->block_sizes,
                   "List of sizes with unit, multiples of 4 KiB [sequential 1MiB, random 4KiB]")
      ->delimiter(',');
  command
      ->add_option(
          "--queue-depth", options->queue_depths,
          "List of reads in flight, 1 to 4096 [sequential 1,8,32, random 1,8,32,128]; mmap is always 1")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  command->add_flag("--json", options->json, "Print one JSON object instead of the table");
  add_summary_option(*command, options->summary);
  command->callback([options] {
    check_outputs({{"--summary", options->summary}},
                  {.dataset = options->segments.dataset, .inputs = {{"--path", options->path}}});
    const bool of_dataset = !options->segments.dataset.empty();
    if (of_dataset == !options->path.empty() || (!of_dataset && !options->segments.preparation.empty())) {
      fail(Kind::config, "give either --path, or --dataset, alone or with --preparation");
    }
    of_dataset ? run_bench_segments(*options) : run_bench_io(*options);
  });
}

}  // namespace gneiss
