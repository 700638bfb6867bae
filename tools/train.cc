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
#include "tools/run_folder.h"
#include "tools/summary.h"
#include "tools/train_report.h"
#include "tools/trained_run.h"
#include "tools/training_device.h"

namespace gneiss {
namespace {

struct TrainCommand {
  std::string dataset;
  std::string preparation = "default";
  TrainOptions train;
  std::string aggregator = "mean";
  std::string activation = "relu";
  std::string norm = "none";
  std::string optimizer = "adam";
  std::string lr_schedule = "constant";
  std::string task = "auto";
  std::string metric = "auto";
  std::string eval = "sampled";
  std::uint64_t read_bytes = 1U << 20;
  std::uint32_t runs = 1;
  std::uint64_t memory_bytes = 0;
  std::size_t threads = 0;
  std::string run;
  std::uint32_t keep_last = 0;
  bool force = false;
  bool resume = false;
  std::uint32_t resume_epoch = 0;  // 0: the last one
  std::string device = "auto";
  std::uint64_t device_memory_bytes = 0;
  std::string precision = "f32";
  std::string summary;
  std::string trace;
  const CLI::Option* shuffle_flag = nullptr;
};

// The double that is written as the float is: 0.1, not 0.10000000149011612.
double shortest(float value) { return std::stod(fmt::format("{}", value)); }

// By the names of --help, so that `train --config` takes a run's config.yaml.
nlohmann::json resolved_options(const TrainCommand& command, std::string_view device) {
  const TrainOptions& train = command.train;
  return {{"dataset", std::filesystem::absolute(command.dataset).string()},
          {"preparation", command.preparation},
          {"model", train.model},
          {"hidden", train.hidden},
          {"activation", command.activation},
          {"dropout", shortest(train.dropout)},
          {"num_heads", train.head_count},
          {"aggregator", command.aggregator},
          {"residual", train.residual},
          {"norm", command.norm},
          {"optimizer", command.optimizer},
          {"lr", shortest(train.optimizer.learning_rate)},
          {"lr_schedule", name_of(train.learning_rate.schedule)},
          {"warmup_steps", train.learning_rate.warmup_steps},
          {"lr_step_epochs", train.learning_rate.step_epochs},
          {"lr_gamma", shortest(train.learning_rate.gamma)},
          {"early_stopping_patience", train.patience},
          {"task", name_of(*train.objective.task)},
          {"metric", name_of(*train.objective.metric)},
          {"class_weights", train.objective.class_weights},
          {"label_smoothing", shortest(train.objective.label_smoothing)},
          {"gradient_clipping", shortest(train.optimizer.gradient_norm_max)},
          {"weight_decay", shortest(train.optimizer.weight_decay)},
          {"epochs", train.schedule.epochs},
          {"eval", command.eval},
          {"eval_every", train.schedule.eval_every},
          {"seed", train.schedule.seed},
          {"no_shuffle", !train.schedule.shuffle},
          {"runs", command.runs},
          {"keep_last", command.keep_last},
          {"device", device},
          {"precision", command.precision},
          {"memory", train.memory_bytes},
          {"device_memory", command.device_memory_bytes},
          {"threads", command.threads},
          {"io", train.pipeline.io_engine},
          {"queue_depth", train.pipeline.queue_depth},
          {"read_size", command.read_bytes},
          {"prefetch", train.pipeline.slot_count},
          {"buffered", !train.pipeline.direct},
          {"no_verify", !train.pipeline.assembly.verify_segments}};
}

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

void add_model_options(CLI::App& app, TrainCommand& command) {
  TrainOptions& train = command.train;
  std::vector<std::string> names;
  std::string known;
  for (const ModelKind& kind : model_kinds()) {
    names.emplace_back(kind.name);
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", kind.name, kind.summary);
  }
  app.add_option("--model", train.model, "Model: " + known)
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--hidden", train.hidden, "Columns of each hidden layer")
      ->check(CLI::Range(1U, 65536U))
      ->capture_default_str();
  app.add_option(
         "--activation", command.activation,
         "After each hidden layer, and between gin's two linear layers: relu, leaky_relu (slope 0.01 below "
         "0), elu, tanh or none")
      ->check(CLI::IsMember({"relu", "leaky_relu", "elu", "tanh", "none"}))
      ->capture_default_str();
  app.add_option("--dropout", train.dropout,
                 "Share of hidden values, and of gat's attention weights, dropped in training, 0 to below 1")
      ->capture_default_str();
  app.add_option(
         "--num-heads", train.head_count,
         "gat: attention heads; those of a hidden layer share its columns, the last layer's are averaged")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  app.add_option("--aggregator", command.aggregator, "sage: mean or max of a node's neighbors")
      ->check(CLI::IsMember({"mean", "max"}))
      ->capture_default_str();
  app.add_flag("--residual", train.residual,
               "Add each layer's input to its output, through a linear map where their widths differ");
  app.add_option("--norm", command.norm,
                 "Normalize between a layer and its activation: none, batch (over the batch's rows) or layer "
                 "(each row)")
      ->check(CLI::IsMember({"none", "batch", "layer"}))
      ->capture_default_str();
  app.add_option("--optimizer", command.optimizer, "adam or adamw (decoupled weight decay)")
      ->check(CLI::IsMember({"adam", "adamw"}))
      ->capture_default_str();
  app.add_option("--lr", train.optimizer.learning_rate, "Learning rate")->capture_default_str();
  app.add_option(
         "--lr-schedule", command.lr_schedule,
         "constant, cosine (to zero at the last step) or step (times --lr-gamma every --lr-step-epochs)")
      ->check(CLI::IsMember({"constant", "cosine", "step"}))
      ->capture_default_str();
  app.add_option("--warmup-steps", train.learning_rate.warmup_steps,
                 "Batches over which the rate grows linearly from nothing")
      ->capture_default_str();
  app.add_option("--lr-step-epochs", train.learning_rate.step_epochs, "Epochs between steps of the rate")
      ->capture_default_str();
  app.add_option("--lr-gamma", train.learning_rate.gamma, "What a step multiplies the rate by")
      ->capture_default_str();
  app.add_option("--weight-decay", train.optimizer.weight_decay, "Weight decay")->capture_default_str();
  app.add_option("--epochs", train.schedule.epochs, "Epochs to train")
      ->check(CLI::Range(1U, 1000000U))
      ->capture_default_str();
  app.add_option("--eval", command.eval,
                 "Validate and test on sampled batches as prepared, or exact: over whole neighborhoods, with "
                 "layers' outputs in nameless files in the run's folder meanwhile")
      ->check(CLI::IsMember({"sampled", "exact"}))
      ->capture_default_str();
  app.add_option("--eval-every", train.schedule.eval_every, "Validate after every so many epochs; 0: never")
      ->capture_default_str();
  command.shuffle_flag = app.add_flag(
      "--shuffle,!--no-shuffle", train.schedule.shuffle,
      "Shuffle the batches of every epoch, or keep the pool's order; default: shuffle, unless the "
      "preparation's residency is belady");
  app.add_option("--seed", train.schedule.seed, "Seed of weights, dropout and the order of batches")
      ->capture_default_str();
  app.add_option("--runs", command.runs, "Train so often, with seeds SEED, SEED+1, ..., and report the mean")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
}

void add_objective_options(CLI::App& app, TrainCommand& command) {
  TrainOptions& train = command.train;
  app.add_option(
         "--task", command.task,
         "multi-class, multi-label (columns of 0 and 1) or binary (one of them, or two classes, with one "
         "logit); auto: as the labels are")
      ->check(CLI::IsMember({"auto", "multi-class", "multi-label", "binary"}))
      ->capture_default_str();
  app.add_option(
         "--metric", command.metric,
         "What decides which epoch is best: accuracy, f1 (macro) or rocauc; auto: accuracy for multi-class, "
         "else rocauc")
      ->check(CLI::IsMember({"auto", "accuracy", "f1", "rocauc"}))
      ->capture_default_str();
  app.add_option("--early-stopping-patience", train.patience,
                 "Stop after so many epochs in which validation's --metric was not better; 0: never")
      ->capture_default_str();
  app.add_option("--class-weights", train.objective.class_weights,
                 "What each class counts in the loss: none, balanced (rare classes more) or W1,W2,...")
      ->capture_default_str();
  app.add_option("--label-smoothing", train.objective.label_smoothing,
                 "Share of each label spread over all classes, 0 to below 1")
      ->capture_default_str();
  app.add_option("--gradient-clipping", train.optimizer.gradient_norm_max,
                 "Scale gradients down to this norm, of all together; 0: never")
      ->capture_default_str();
}

void add_pipeline_options(CLI::App& app, TrainCommand& command) {
  PipelineOptions& pipeline = command.train.pipeline;
  app.add_option("--device", command.device,
                 "What computes: cpu, cuda, or auto: a CUDA device where one can be used")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  add_bytes_option(
      app, "--device-memory", command.device_memory_bytes,
      "Memory of a CUDA device that may be used at most, such as 8GiB; default: all that is free");
  app.add_option(
         "--precision", command.precision,
         "Numbers of matrix products: f32; tf32, on CUDA devices alone; or bf16 with sums in f32, on CUDA "
         "devices "
         "and processors with AVX512_BF16. Weights, gradients, activations and the loss are f32 in all")
      ->check(CLI::IsMember({"f32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--prefetch", pipeline.slot_count,
                 "Batches in flight at most, the one being computed included")
      ->check(CLI::Range(2U, 64U))
      ->capture_default_str();
  app.add_option("--io", pipeline.io_engine, "Reader: auto, io_uring, pread or mmap")
      ->check(CLI::IsMember({"auto", "io_uring", "pread", "mmap"}))
      ->capture_default_str();
  app.add_option("--queue-depth", pipeline.queue_depth, "Reads in flight at most")
      ->check(CLI::Range(1U, 4096U))
      ->capture_default_str();
  add_bytes_option(app, "--read-size", command.read_bytes, "Bytes of one read at most");
  app.add_flag("!--buffered", pipeline.direct, "Read through the page cache");
  app.add_flag("!--no-verify", pipeline.assembly.verify_segments,
               "Do not compare segments with their checksums");
}

}  // namespace

void register_train(CLI::App& app) {
  auto* sub = app.add_subcommand("train", "Train a model on a preparation, features read from the drive");
  const auto command = std::make_shared<TrainCommand>();
  add_dataset_option(*sub, command->dataset);
  sub->add_option("--preparation", command->preparation,
                  "The preparation, as 'gneiss prepare --name' called it")
      ->capture_default_str();
  add_model_options(*sub, *command);
  add_objective_options(*sub, *command);
  add_pipeline_options(*sub, *command);
  add_memory_option(*sub, command->memory_bytes);
  add_threads_option(*sub, command->threads);
  sub->add_option("--run", command->run, "Folder for the run's results; default: DATASET/runs/run-NNNN")
      ->type_name("DIR");
  auto* force = sub->add_flag("--force", command->force, "Replace a run in that folder");
  sub->add_flag("--resume", command->resume,
                "Go on with the run in that folder: an interrupted one, or a finished one with more --epochs")
      ->excludes(force);
  sub->add_option("--resume-epoch", command->resume_epoch,
                  "Go back: on after this epoch, whose checkpoint --keep-last kept; default: the last one")
      ->check(CLI::Range(1U, 1000000U))
      ->excludes(force);
  sub->add_option(
         "--keep-last", command->keep_last,
         "Epochs whose checkpoints stay in the run's folder, the last so many: weights and state of each; "
         "0: only the best weights, and the state that a resume needs")
      ->check(CLI::Range(0U, 1000000U))
      ->capture_default_str();
  add_output_file_option(*sub, "--trace", command->trace,
                         "Write the timeline of all stages, for Perfetto or chrome://tracing");
  add_summary_option(*sub, command->summary);
  sub->callback([command] { run(*command); });
}

}  // namespace gneiss
