#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/train/trainer.h"
#include "storage/base/memory_limit.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/format/drive_record.h"
#include "storage/io/file.h"
#include "tools/commands.h"
#include "tools/machine.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/run_folder.h"
#include "tools/summary.h"
#include "tools/train_options.h"
#include "tools/train_report.h"
#include "tools/trained_run.h"
#include "tools/training_device.h"

namespace gneiss {
namespace {

struct MeanAndDeviation {
  double mean = 0;
  double deviation = 0;  // of the sample
};

MeanAndDeviation mean_and_deviation(const std::vector<double>& values) {
  MeanAndDeviation result;
  for (const double value : values) result.mean += value / static_cast<double>(values.size());
  for (const double value : values) result.deviation += (value - result.mean) * (value - result.mean);
  result.deviation =
      values.size() > 1 ? std::sqrt(result.deviation / static_cast<double>(values.size() - 1)) : 0;
  return result;
}

void print_memory(const MemoryPlan& plan, std::uint64_t budget) {
  const std::string runtime =
      plan.device_bytes == 0
          ? ""
          : fmt::format(", the device's runtime {}", format_bytes(static_cast<double>(plan.device_bytes)));
  fmt::print("Memory: {} of {}: {}cpu tier {}, model {}, {} batches in flight {}{}\n",
             format_bytes(static_cast<double>(plan.total_bytes())), format_bytes(static_cast<double>(budget)),
             gpu_tier_text(plan), format_bytes(static_cast<double>(plan.cpu_tier_bytes)),
             format_bytes(static_cast<double>(plan.model_bytes)), plan.slot_count,
             format_bytes(static_cast<double>(plan.slot_count * plan.slot_bytes)), runtime);
  std::fflush(stdout);
}

struct FinishedRun {
  RunResult result;
  nlohmann::json json;  // with the epochs that an interrupted process had done
};

// How to go on where the run stands; empty where it does not stand anywhere that these options go on from.
std::string standing(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                     const Backend& backend) {
  try {
    const std::uint32_t done = epochs_done(dataset, preparation, options, backend);
    return fmt::format("; the run stands after epoch {}, where --resume goes on", done);
  } catch (const Error&) {
    return "";
  }
}

// Makes the state after an earlier epoch that of the run. What is refused is refused before anything changes.
void go_back(const Dataset& dataset, const Preparation& preparation, TrainOptions options,
             const Backend& backend, std::uint32_t epoch) {
  const KeptCheckpoints kept(options.kept);
  if (!std::filesystem::exists(kept.state_path(epoch))) {
    const auto there = kept.epochs();
    fail(Kind::config, "--resume-epoch {}: {} is not there; {}{}", epoch, kept.state_path(epoch).string(),
         there.empty() ? "no checkpoints were kept: --keep-last keeps them"
                       : fmt::format("kept are those of epochs {}", fmt::join(there, ", ")),
         standing(dataset, preparation, options, backend));
  }
  const std::filesystem::path current = std::exchange(options.state, kept.state_path(epoch));
  epochs_done(dataset, preparation, options, backend);
  publish_link(options.state, current);
}

FinishedRun run_once(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier,
                     const TrainCommand& command, TrainOptions options, const TrainDevice& device,
                     RunFolder& folder) {
  const bool is_one_of_many = command.runs > 1;
  const std::uint64_t seed = options.schedule.seed;
  const std::optional<std::uint64_t> file_seed = is_one_of_many ? std::optional(seed) : std::nullopt;
  options.checkpoint = folder.checkpoint(file_seed);
  options.state = folder.state(file_seed);
  options.scratch = folder.path();
  options.kept = folder.kept(command.keep_last, file_seed);
  options.resume = folder.goes_on() && std::filesystem::exists(options.state);
  if (command.resume_epoch > 0) go_back(dataset, preparation, options, device.backend, command.resume_epoch);
  const std::uint32_t done = options.resume ? epochs_done(dataset, preparation, options, device.backend) : 0;
  if (is_one_of_many) fmt::print("Run with seed {}\n", seed);
  std::vector<nlohmann::json> earlier;
  if (folder.goes_on()) earlier = folder.keep_metrics(seed, done);
  if (options.resume) {
    fmt::print("Going on after epoch {} of the run in {}\n", done, folder.path().string());
  }
  RunResult result = train(dataset, preparation, cpu_tier, options, device, [&](const EpochResult& epoch) {
    fmt::print("{}\n", epoch_line(epoch, *options.objective.metric));
    std::fflush(stdout);
    nlohmann::json line = epoch_json(epoch);
    line["seed"] = seed;
    folder.append_metrics(line);
  });
  fmt::print("{}\n", best_line(result));
  std::fflush(stdout);
  nlohmann::json json = run_json(result, earlier);
  return {std::move(result), std::move(json)};
}

void write_trace(const Trace& trace, const std::string& path) {
  trace.write(path);
  fmt::print("Timeline: {}, for https://ui.perfetto.dev\n", path);
  if (trace.left_out_count() > 0) {
    spdlog::warn("the timeline holds the first {} events; {} later ones are left out",
                 format_count(trace.event_count()), format_count(trace.left_out_count()));
  }
}

// A run goes on on what it was begun on, whatever `auto` would choose today.
void follow_run(TrainCommand& command) {
  if (command.device != "auto" || command.run.empty() || command.force) return;
  const std::string begun_on = device_of_run(command.run);
  if (begun_on != "cpu" && begun_on != "cuda") return;
  const DeviceProbe probe = begun_on == "cuda" ? probe_cuda_device() : DeviceProbe{};
  if (begun_on == "cuda" && !probe.usable) {
    fail(Kind::config,
         "the run in {} was begun on a CUDA device, which cannot be used here: {}; go on where there is one, "
         "or "
         "give another --run",
         command.run, probe.reason);
  }
  command.device = begun_on;
}

void run(TrainCommand& command) {
  const Stopwatch clock;
  check_outputs({{"--summary", command.summary}, {"--trace", command.trace}},
                {.dataset = command.dataset, .run = command.run});
  TrainOptions& options = command.train;
  options.memory_bytes = memory_budget(command.memory_bytes);
  options.aggregator = parse_aggregator(command.aggregator);
  options.activation = parse_activation(command.activation);
  options.norm = parse_norm(command.norm);
  options.exact_evaluation = command.eval == "exact";
  options.optimizer.kind = parse_optimizer(command.optimizer);
  options.learning_rate.schedule = parse_rate_schedule(command.lr_schedule);
  if (command.read_bytes < direct_io_alignment || command.read_bytes % direct_io_alignment != 0 ||
      command.read_bytes > (1U << 30)) {
    fail(Kind::config, "--read-size {} is not possible; use a multiple of 4KiB up to 1GiB",
         command.read_bytes);
  }
  options.pipeline.read_bytes = static_cast<std::uint32_t>(command.read_bytes);
  const Dataset dataset = Dataset::open(command.dataset);
  if (command.task != "auto") options.objective.task = parse_task(command.task);
  if (command.metric != "auto") options.objective.metric = parse_metric(command.metric);
  options.objective = resolve_objective(options.objective, dataset.info());
  const Preparation preparation = Preparation::open(dataset, command.preparation);
  // Unless a shuffle was asked for, which train() refuses: the plan has an order of its own.
  if (preparation.info().planned == Residency::belady && command.shuffle_flag->count() == 0) {
    options.schedule.shuffle = false;
  }
  ThreadPool pool(command.threads);
  std::optional<CpuTier> cpu_tier;  // outlives what the device is told of
  follow_run(command);
  TrainingDevice device(command.device, parse_precision(command.precision), options.memory_bytes, pool);
  device.plan(dataset, preparation, options, command.device_memory_bytes);
  options.pipeline.pool = &pool;
  // Every run keeps the beginning of its timeline, for 'gneiss report'.
  constexpr std::size_t kept_events = 4000;
  Trace trace(command.trace.empty() ? kept_events : Trace::usual_limit);
  options.pipeline.trace = &trace;
  print_memory(plan_training(dataset, preparation, options, device.device()), options.memory_bytes);

  command.resume = command.resume || command.resume_epoch > 0;
  if (command.resume && command.run.empty())
    fail(Kind::config, "--resume needs the run's folder, with --run DIR");
  if (command.resume_epoch > 0 && command.runs > 1)
    fail(Kind::config, "--resume-epoch goes back in a single run; --runs is {}", command.runs);
  RunFolder folder(dataset.folder(), command.run,
                   command.force    ? RunStart::replace
                   : command.resume ? RunStart::go_on
                                    : RunStart::anew,
                   command.runs > 1);
  // A run that goes on keeps its own until it has shown that the options fit.
  const nlohmann::json resolved = resolved_options(command, device.name());
  if (!folder.goes_on()) folder.write_config(resolved);
  cpu_tier.emplace(preparation);
  device.load(preparation, *cpu_tier);
  options.pipeline.gpu_tier = device.gpu_tier();
  std::vector<FinishedRun> results;
  const std::uint64_t first_seed = options.schedule.seed;
  for (std::uint32_t i = 0; i < command.runs; ++i) {
    options.schedule.seed = first_seed + i;
    try {
      results.push_back(run_once(dataset, preparation, *cpu_tier, command, options, device.device(), folder));
    } catch (const Error& error) {
      if (error.kind() != Kind::cancelled || !folder.holds_state()) throw;
      fail(Kind::cancelled, "interrupted; the same command with '--run {}' ({}) goes on",
           folder.path().string(),
           command.resume_epoch > 0 ? "and --resume in place of --resume-epoch" : "and no --force");
    }
  }
  const auto drive = stored_drive_profile(dataset);
  fmt::print("{}", time_table(results.back().result, drive ? drive->sequential_bytes_per_second() : 0));

  nlohmann::json summary = results.front().json;
  if (command.runs > 1) {
    for (const auto& [result, json] : results) summary["runs"].push_back(json);
    for (const Metric metric : all_metrics) {
      std::vector<double> tests;
      for (const auto& [result, json] : results) {
        if (const auto score = result.test ? result.test->of(metric) : std::nullopt) tests.push_back(*score);
      }
      if (tests.empty()) continue;
      const auto [mean, deviation] = mean_and_deviation(tests);
      const std::string key = fmt::format("test_{}", name_of(metric));
      summary[key] = mean;
      summary[key + "_deviation"] = deviation;
      if (metric == results.front().result.metric) {
        fmt::print("Test{} over {} runs: {:.2f}% +- {:.2f}\n", metric_suffix(metric), tests.size(),
                   mean * 100, deviation * 100);
      }
    }
  }
  summary["command"] = "train";
  summary["options"] = resolved;
  summary["prepared_with"] = to_json(preparation.info().options);
  folder.write_config(resolved);
  summary["machine"] = machine_json();
  if (device.is_cuda()) summary.update(device.summary());
  summary["plan"] = plan_json(preparation, drive);
  summary["packed_bytes"] = preparation.bytes();
  summary["peak_memory_bytes"] = peak_resident_bytes();
  summary["seconds"] = clock.seconds();
  write_summary(command.summary, summary);
  // The folder's summary says that the run is finished, and is not gone on with: all else of it comes before.
  replace_file(folder.path() / timeline_file_name, trace.text(kept_events));
  folder.write_summary(summary);
  if (!command.trace.empty()) write_trace(trace, command.trace);
  fmt::print("Run: {}\n", folder.path().string());
}

}  // namespace

void register_train(CLI::App& app) {
  auto* sub = app.add_subcommand("train", "Train a model on a preparation, features read from the drive");
  const auto command = std::make_shared<TrainCommand>();
  add_train_options(*sub, *command);
  sub->callback([command] { run(*command); });
}

}  // namespace gneiss
