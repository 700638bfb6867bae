// The steps of `gneiss train` on batches held in memory: the time of each, and of the operators it is made
// of.
//
//   build/release/bench_training_step --dataset D --preparation P --model sage --batches 4 --steps 24
//
// The first pass over the batches warms up and gives the losses; the steps after it are timed. What brings a
// batch (reading, decompressing, transposing its blocks, copying it to a device) is not in the step.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/step/steps.h"
#include "bench/step/timed_backend.h"
#include "engine/nn/cross_entropy.h"
#include "engine/train/checkpoint.h"
#include "engine/train/memory_plan.h"
#include "storage/base/error.h"
#include "tools/summary.h"

namespace gneiss::step {
namespace {

struct Options {
  std::string dataset;
  std::string preparation;
  std::string model = "sage";
  std::string weights;
  std::string summary;
  std::string device = "cpu";
  std::string precision = "f32";
  std::uint32_t hidden = 256;
  std::uint32_t heads = 4;
  std::uint32_t batches = 4;
  std::uint32_t steps = 24;
  std::size_t threads = 0;
  std::string clock = "wall";
  float dropout = 0;
  float learning_rate = 0.003F;
};

std::uint32_t seed_count_max(const Preparation& preparation) {
  std::uint32_t most = 0;
  for (const BatchEntry& entry : preparation.pool().entries()) most = std::max(most, entry.seed_count);
  return most;
}

nlohmann::json operators_json(const OperatorTimes& times, double steps) {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [name, time] : times.all()) {
    result[name] = {{"is_product", time.is_product},
                    {"seconds_per_step", time.seconds / steps},
                    {"calls_per_step", static_cast<double>(time.calls) / steps}};
  }
  return result;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

struct Measured {
  std::vector<double> losses;   // of the first pass, in the order of batches
  std::vector<double> seconds;  // of each step after it, or their mean
};

// On a device, operators are timed in a pass of their own.
Measured measure(Steps& steps, StepDevice& device, OperatorTimes& times, const Options& options) {
  Measured measured;
  const bool is_device = options.device != "cpu";
  times.pause(true);
  measured.losses = steps.first_losses();
  times.pause(is_device);
  measured.seconds = device.time_steps(options.steps, [&](std::uint32_t i) { steps.ask(i); });
  if (!is_device) return measured;
  times.pause(false);
  for (std::uint32_t i = 0; i < options.batches; ++i) steps.ask(i);
  steps.wait();
  return measured;
}

void run(const Options& options) {
  const Dataset dataset = Dataset::open(options.dataset);
  const Preparation preparation = Preparation::open(dataset, options.preparation);
  ThreadPool pool(options.threads);
  const Clock clock = options.clock == "cpu" ? Clock::processor(pool.thread_count()) : Clock();
  TrainOptions train;
  train.model = options.model;
  train.hidden = options.hidden;
  train.dropout = options.dropout;
  train.head_count = options.heads;
  const StepRequest request{.dataset = dataset,
                            .preparation = preparation,
                            .options = train,
                            .batches = options.batches,
                            .precision = parse_precision(options.precision)};
  const auto device = make_step_device(options.device, request, clock, pool);
  TimedBackend backend(device->backend(), options.device == "cpu" ? clock : Clock());
  const auto model =
      make_model(options.model, backend,
                 {.feature_columns = dataset.info().feature_dim,
                  .hidden_columns = options.hidden,
                  .class_count = dataset.info().class_count,
                  .layer_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size()),
                  .dropout = options.dropout,
                  .head_count = options.heads,
                  .seed = 1},
                 block_maxima(preparation));
  if (!options.weights.empty()) {
    write_checkpoint(options.weights, model->parameters(), {});
  }
  CrossEntropy loss(backend, seed_count_max(preparation), dataset.info().class_count);
  Optimizer optimizer(model->parameters(), {.learning_rate = options.learning_rate});
  Steps steps(*device, options.batches, *model, loss, optimizer);
  const Measured measured = measure(steps, *device, backend.times(), options);
  const std::uint32_t timed =
      options.device == "cpu" ? options.steps : options.batches;  // operator by operator
  double products = 0;
  double all = 0;
  for (const auto& [name, time] : backend.times().all()) {
    all += time.seconds / timed;
    if (time.is_product) products += time.seconds / timed;
  }
  // What is between operators belongs to the rest, on the CPU.
  if (options.device == "cpu") {
    all = 0;
    for (const double seconds : measured.seconds) all += seconds / options.steps;
  }
  fmt::print("{}: {:.2f} ms a step in the median, {:.0f} % of it products; first losses {:.5f}\n",
             options.model, median(measured.seconds) * 1e3, 100 * products / all,
             fmt::join(measured.losses, " "));
  for (const auto& [name, time] : backend.times().all()) {
    fmt::print("  {:<28}{:8.2f} ms\n", name, time.seconds / timed * 1e3);
  }
  write_summary(options.summary, {{"command", "training_step"},
                                  {"model", options.model},
                                  {"device", options.device},
                                  {"precision", options.precision},
                                  {"threads", pool.thread_count()},
                                  {"batches", options.batches},
                                  {"steps", options.steps},
                                  {"losses", measured.losses},
                                  {"step_seconds", measured.seconds},
                                  {"product_share", products / all},
                                  {"operators", operators_json(backend.times(), timed)}});
}

int run_command_line(int argc, char** argv) {
  Options options;
  CLI::App app("Training steps on batches held in memory");
  app.add_option("--dataset", options.dataset, "The dataset's folder")->required();
  app.add_option("--preparation", options.preparation, "Whose batches")->required();
  app.add_option("--model", options.model, "sage, gcn, gat, gin or mlp");
  app.add_option("--hidden", options.hidden, "Columns of each hidden layer");
  app.add_option("--num-heads", options.heads, "gat: heads");
  app.add_option("--device", options.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--precision", options.precision, "Of matrix products: f32, bf16, or with cuda tf32");
  app.add_option("--dropout", options.dropout, "Share of hidden values dropped");
  app.add_option("--lr", options.learning_rate, "Adam's learning rate");
  app.add_option("--batches", options.batches, "Training batches, held in memory")
      ->check(CLI::Range(1, 1000));
  app.add_option("--steps", options.steps, "Steps on the clock, over the batches in turn")
      ->check(CLI::Range(1, 100000));
  app.add_option("--clock", options.clock, "wall, or cpu: the processor's time, on a machine that is shared")
      ->check(CLI::IsMember({"wall", "cpu"}));
  app.add_option("--threads", options.threads, "0: every core there is");
  app.add_option("--weights", options.weights, "Where the first weights go, as safetensors");
  add_summary_option(app, options.summary);
  CLI11_PARSE(app, argc, argv);
  run(options);
  return 0;
}

}  // namespace
}  // namespace gneiss::step

int main(int argc, char** argv) {
  try {
    return gneiss::step::run_command_line(argc, argv);
  } catch (const gneiss::Error& error) {
    fmt::print(stderr, "bench_training_step: {}\n", error.what());
    return gneiss::exit_code(error.kind());
  }
}
