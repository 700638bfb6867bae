// The steps of `gneiss train` on batches held in memory: the time of each, and of the operators it is made
// of.
//
//   build/release/bench_training_step --dataset D --preparation P --model sage --batches 4 --steps 24
//
// The first pass over the batches warms up and gives the losses; the steps after it are timed. What brings a
// batch (reading, decompressing, transposing its blocks) is not in the step.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/step/held_batches.h"
#include "bench/step/timed_backend.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/nn/cross_entropy.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"
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

std::uint32_t seed_count_max(const HeldBatches& batches) {
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) most = std::max(most, batches[i].seed_count());
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
  std::vector<double> seconds;  // of each step after it
};

Measured measure(Model& model, Loss& loss, Optimizer& optimizer, OperatorTimes& times,
                 const HeldBatches& batches, std::uint32_t steps, const Clock& clock) {
  Measured measured;
  for (std::uint32_t i = 0; i < batches.size() + steps; ++i) {
    const BatchView& batch = batches[i % batches.size()];
    if (i == batches.size()) times.clear();
    const double start = clock.now();
    const LossSum sum =
        loss.evaluate_with_gradient(model.forward(batch, {.is_training = true, .seed = 1, .step = i}), batch);
    model.backward(batch, loss.gradient());
    optimizer.step();
    if (i < batches.size()) {
      measured.losses.push_back(sum.mean());
    } else {
      measured.seconds.push_back(clock.now() - start);
    }
  }
  return measured;
}

void run(const Options& options) {
  const Dataset dataset = Dataset::open(options.dataset);
  const Preparation preparation = Preparation::open(dataset, options.preparation);
  const HeldBatches batches(dataset, preparation, options.batches);
  ThreadPool pool(options.threads);
  const auto cpu = make_cpu_backend(pool, parse_precision(options.precision));
  const Clock clock = options.clock == "cpu" ? Clock::processor(pool.thread_count()) : Clock();
  TimedBackend backend(*cpu, clock);
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
    write_checkpoint(options.weights, model->parameters(), 0, Metric::accuracy, std::nullopt);
  }
  CrossEntropy loss(backend, seed_count_max(batches), dataset.info().class_count);
  Optimizer optimizer(model->parameters(), {.learning_rate = options.learning_rate});
  const Measured measured = measure(*model, loss, optimizer, backend.times(), batches, options.steps, clock);
  double products = 0;
  double all = 0;
  for (const double seconds : measured.seconds) all += seconds / options.steps;
  for (const auto& [name, time] : backend.times().all()) {
    if (time.is_product) products += time.seconds / options.steps;
  }
  fmt::print("{}: {:.1f} ms a step in the median, {:.0f} % of it products; first losses {:.5f}\n",
             options.model, median(measured.seconds) * 1e3, 100 * products / all,
             fmt::join(measured.losses, " "));
  for (const auto& [name, time] : backend.times().all()) {
    fmt::print("  {:<28}{:8.2f} ms\n", name, time.seconds / options.steps * 1e3);
  }
  write_summary(options.summary, {{"command", "training_step"},
                                  {"model", options.model},
                                  {"precision", options.precision},
                                  {"threads", pool.thread_count()},
                                  {"batches", options.batches},
                                  {"losses", measured.losses},
                                  {"step_seconds", measured.seconds},
                                  {"product_share", products / all},
                                  {"operators", operators_json(backend.times(), options.steps)}});
}

int run_command_line(int argc, char** argv) {
  Options options;
  CLI::App app("Training steps on batches held in memory");
  app.add_option("--dataset", options.dataset, "The dataset's folder")->required();
  app.add_option("--preparation", options.preparation, "Whose batches")->required();
  app.add_option("--model", options.model, "sage, gcn, gat, gin or mlp");
  app.add_option("--hidden", options.hidden, "Columns of each hidden layer");
  app.add_option("--num-heads", options.heads, "gat: heads");
  app.add_option("--precision", options.precision, "Of matrix products: f32 or bf16");
  app.add_option("--dropout", options.dropout, "Share of hidden values dropped");
  app.add_option("--lr", options.learning_rate, "Adam's learning rate");
  app.add_option("--batches", options.batches, "Training batches, held in memory");
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
