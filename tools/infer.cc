#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/infer/exact_inference.h"
#include "engine/train/checkpoint.h"
#include "engine/train/memory_plan.h"
#include "storage/base/memory_limit.h"
#include "storage/base/parallel.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/format/drive_record.h"
#include "storage/format/npy_writer.h"
#include "tools/commands.h"
#include "tools/machine.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/summary.h"
#include "tools/trained_run.h"

namespace gneiss {
namespace {

struct InferCommand {
  std::string dataset;
  std::string run;
  std::string checkpoint;
  std::string what = "predictions";
  std::string out;
  std::string scratch;
  std::uint64_t memory_bytes = 0;
  std::size_t threads = 0;
  std::string summary;
};

// What becomes of the rows of the last layer that is run.
struct Output {
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::uint32_t layers = 0;  // that are run
  bool is_rows = false;      // the rows themselves

  std::uint64_t bytes() const {
    std::uint64_t count = size_of(dtype);
    for (const std::uint64_t extent : shape) count *= extent;
    return count;
  }
};

Output output_of(const InferCommand& command, const TrainedRun& run, const DatasetInfo& dataset) {
  const std::uint64_t nodes = dataset.node_count;
  const std::uint64_t columns = run.options.class_count;
  const std::uint32_t layers = run.options.layer_count;
  if (command.what == "logits") return {Dtype::f32, {nodes, columns}, layers, true};
  if (command.what == "embeddings") {
    if (layers < 2) {
      fail(Kind::config,
           "{} has one layer: its embeddings would be the features themselves; ask for logits or predictions",
           run.checkpoint.string());
    }
    return {Dtype::f32, {nodes, run.options.hidden_columns}, layers - 1, true};
  }
  switch (*run.objective.task) {
    case Task::multi_class:
      return {Dtype::i32, {nodes}, layers, false};
    case Task::binary:
      return {Dtype::u8, {nodes}, layers, false};
    case Task::multi_label:
      return {Dtype::u8, {nodes, columns}, layers, false};
  }
  GNEISS_ASSERT(false);
}

// The class of the largest logit, the first of equals.
void append_classes(ConstMatrixView logits, NpyWriter& out) {
  std::vector<std::int32_t> classes(logits.rows);
  for (std::size_t row = 0; row < logits.rows; ++row) {
    const float* first = logits.row(row);
    classes[row] = static_cast<std::int32_t>(std::max_element(first, first + logits.columns) - first);
  }
  out.append(std::as_bytes(std::span(classes)));
}

// 1 where the logit is above 0.
void append_answers(ConstMatrixView logits, NpyWriter& out) {
  std::vector<std::uint8_t> answers;
  answers.reserve(logits.rows * logits.columns);
  for (std::size_t row = 0; row < logits.rows; ++row) {
    for (std::size_t column = 0; column < logits.columns; ++column) {
      answers.push_back(logits(row, column) > 0 ? 1 : 0);
    }
  }
  out.append(std::as_bytes(std::span(answers)));
}

void append(const Output& output, ConstMatrixView rows, NpyWriter& out) {
  if (!output.is_rows)
    return output.dtype == Dtype::i32 ? append_classes(rows, out) : append_answers(rows, out);
  for (std::size_t row = 0; row < rows.rows; ++row) {
    out.append(std::as_bytes(std::span(rows.row(row), rows.columns)));
  }
}

// In which the drive moves so much in sequence; 0 where its speed is not known.
double drive_seconds(const std::optional<DriveProfile>& drive, const Traffic& traffic) {
  if (!drive || drive->sequential_bytes_per_second() <= 0) return 0;
  const double reads = drive->sequential_bytes_per_second();
  const double writes = drive->write_bytes_per_second > 0 ? drive->write_bytes_per_second : reads;
  return static_cast<double>(traffic.bytes_read) / reads +
         static_cast<double>(traffic.bytes_written) / writes;
}

std::string amount(std::uint64_t bytes) { return format_bytes(static_cast<double>(bytes)); }

// "   45 %" of the time that was taken; nothing where the drive was not measured.
std::string share(double of_seconds, double seconds) {
  return of_seconds > 0 && seconds > 0 ? fmt::format("{:.0f} %", of_seconds / seconds * 100) : "-";
}

void print_table(const std::vector<LayerCost>& costs, const std::optional<DriveProfile>& drive) {
  fmt::print("{:<7} {:>6} {:>12} {:>12} {:>10} {:>22} {:>22}\n", "Layer", "Runs", "Read", "Written", "Time",
             "Drive, bytes moved", "Drive, one pass");
  for (std::size_t i = 0; i < costs.size(); ++i) {
    const LayerCost& cost = costs[i];
    fmt::print("{:<7} {:>6} {:>12} {:>12} {:>10} {:>22} {:>22}\n", i + 1, cost.runs,
               amount(cost.traffic.bytes_read), amount(cost.traffic.bytes_written),
               format_seconds(cost.seconds), share(drive_seconds(drive, cost.traffic), cost.seconds),
               share(drive_seconds(drive, cost.one_pass), cost.seconds));
  }
  if (!drive) fmt::print("The drive was not measured: 'gneiss bench io --dataset D' does, once.\n");
}

nlohmann::json layers_json(const std::vector<LayerCost>& costs, const std::optional<DriveProfile>& drive) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerCost& cost : costs) {
    layers.push_back({{"runs", cost.runs},
                      {"seconds", cost.seconds},
                      {"bytes_read", cost.traffic.bytes_read},
                      {"bytes_written", cost.traffic.bytes_written},
                      {"one_pass_bytes_read", cost.one_pass.bytes_read},
                      {"one_pass_bytes_written", cost.one_pass.bytes_written},
                      {"drive_seconds", drive_seconds(drive, cost.traffic)},
                      {"one_pass_drive_seconds", drive_seconds(drive, cost.one_pass)}});
  }
  return layers;
}

// The finished array takes the place of what has its name: never that of a link or a device.
void check_target(const std::string& out) {
  const auto status = std::filesystem::symlink_status(out);
  if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) return;
  fail(Kind::config, "--out {} is there and is no regular file; give another name", out);
}

void run(const InferCommand& command) {
  const Stopwatch clock;
  check_outputs(
      {{"--out", command.out}, {"--summary", command.summary}},
      {.dataset = command.dataset, .run = command.run, .inputs = {{"--checkpoint", command.checkpoint}}});
  check_target(command.out);
  const Dataset dataset = Dataset::open(command.dataset);
  const TrainedRun trained = TrainedRun::read(command.run, command.checkpoint, dataset.info());
  const Output output = output_of(command, trained, dataset.info());
  ThreadPool pool(command.threads);
  const auto backend = make_cpu_backend(pool);
  const std::uint64_t memory = memory_budget(command.memory_bytes);
  const ExactPlan plan =
      plan_exact_inference(dataset, *backend,
                           {.model = trained.model,
                            .options = trained.options,
                            .layers = output.layers,
                            .keeps_output = output.is_rows,
                            .memory_bytes = memory,
                            .program_bytes = program_memory_bytes + NpyWriter::memory_bytes() +
                                             product_bytes(trained.model, *backend, trained.options)});
  const auto model =
      make_model(trained.model, *backend, trained.options, plan.maxima(trained.options.layer_count));
  read_checkpoint(trained.checkpoint, model->parameters());
  const std::filesystem::path scratch = command.scratch.empty()
                                            ? std::filesystem::path(command.out).parent_path()
                                            : std::filesystem::path(command.scratch);
  NpyWriter out(command.out, output.dtype, output.shape);  // takes its space
  check_scratch_space(plan, scratch, 0);
  fmt::print("Memory: {} of {}: {} of the rows at a time, model {}; space on the drive: {} meanwhile\n",
             amount(plan.memory_bytes), amount(memory), amount(plan.resident_bytes), amount(plan.model_bytes),
             amount(plan.scratch_bytes));
  std::fflush(stdout);
  const auto costs =
      infer_exactly(dataset, *model, plan, scratch,
                    [&](std::uint64_t /*first*/, ConstMatrixView rows) { append(output, rows, out); });
  out.finish();

  const auto drive = stored_drive_profile(dataset);
  print_table(costs, drive);
  fmt::print("{} of {} nodes in {}: {}\n", command.what, format_count(dataset.info().node_count),
             format_seconds(clock.seconds()), command.out);
  nlohmann::json summary{{"command", "infer"},
                         {"what", command.what},
                         {"out", command.out},
                         {"checkpoint", trained.checkpoint.string()},
                         {"model", trained.model},
                         {"nodes", dataset.info().node_count},
                         {"dtype", name_of(output.dtype)},
                         {"shape", output.shape},
                         {"layers", layers_json(costs, drive)},
                         {"planned_memory_bytes", plan.memory_bytes},
                         {"scratch_bytes", plan.scratch_bytes},
                         {"machine", machine_json()},
                         {"peak_memory_bytes", peak_resident_bytes()},
                         {"seconds", clock.seconds()}};
  write_summary(command.summary, summary);
}

}  // namespace

void register_infer(CLI::App& app) {
  auto* sub = app.add_subcommand(
      "infer",
      "Run a trained model over all nodes and whole neighborhoods, from the drive, in bounded memory");
  const auto command = std::make_shared<InferCommand>();
  add_dataset_option(*sub, command->dataset);
  sub->add_option("--run", command->run, "Folder of the run, as 'gneiss train' printed it")
      ->type_name("DIR")
      ->required();
  sub->add_option("--checkpoint", command->checkpoint,
                  "Weights as 'gneiss train' writes them; default: best.safetensors in the run's folder")
      ->type_name("FILE");
  sub->add_option(
         "--what", command->what,
         "embeddings (f32, the input of the last layer), logits (f32, one a class or label) or "
         "predictions (multi-class: i32, the class; multi-label and binary: u8, 1 where the logit is "
         "above 0). One row a node, in the source's order")
      ->check(CLI::IsMember({"embeddings", "logits", "predictions"}))
      ->capture_default_str();
  add_output_file_option(*sub, "--out", command->out, "The array, as NumPy's .npy; replaced if it is there");
  sub->get_option("--out")->required();
  sub->add_option("--scratch", command->scratch,
                  "Folder for layers' outputs meanwhile, without names; default: that of --out")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  add_memory_option(*sub, command->memory_bytes);
  add_threads_option(*sub, command->threads);
  add_summary_option(*sub, command->summary);
  sub->callback([command] { run(*command); });
}

}  // namespace gneiss
