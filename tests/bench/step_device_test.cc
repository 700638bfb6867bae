// The steps that bench_training_step times, on the CPU and on a device that is emulated.
#include <doctest/doctest.h>

#include <cmath>

#include "bench/step/steps.h"
#include "bench/step/timed_backend.h"
#include "engine/nn/cross_entropy.h"
#include "engine/train/memory_plan.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/engine/learnable_graph.h"

using namespace gneiss;
using namespace gneiss::step;
using namespace gneiss::test;

namespace {

constexpr std::uint32_t batch_count = 2;

struct StepRun {
  std::vector<double> losses;
  std::vector<double> seconds;
  std::size_t operators = 0;
};

StepRun run_steps(const LearnableGraph& graph, const std::string& device_name, const TrainOptions& options) {
  emulated_cuda::reset();
  emulated_cuda::set_device_memory(512ULL << 20);
  emulated_cuda::set_seed(3);
  const Preparation preparation = graph.open("tiny");
  ThreadPool pool(1);
  const StepRequest request{
      .dataset = graph.dataset(), .preparation = preparation, .options = options, .batches = batch_count};
  const auto device = make_step_device(device_name, request, Clock(), pool);
  TimedBackend backend(device->backend(), Clock());
  const auto model =
      make_model(options.model, backend,
                 {.feature_columns = graph.dataset().info().feature_dim,
                  .hidden_columns = options.hidden,
                  .class_count = graph.dataset().info().class_count,
                  .layer_count = static_cast<std::uint32_t>(preparation.info().options.fanouts.size()),
                  .dropout = options.dropout,
                  .head_count = options.head_count,
                  .seed = 1},
                 block_maxima(preparation));
  CrossEntropy loss(backend, 64, graph.dataset().info().class_count);
  Optimizer optimizer(model->parameters(), {.learning_rate = 0.01F});
  Steps steps(*device, batch_count, *model, loss, optimizer);
  StepRun outcome;
  backend.times().pause(true);
  outcome.losses = steps.first_losses();
  outcome.seconds = device->time_steps(4, [&](std::uint32_t i) { steps.ask(i); });
  CHECK(backend.times().all().empty());
  backend.times().pause(false);
  steps.ask(0);
  steps.wait();
  outcome.operators = backend.times().all().size();
  return outcome;
}

}  // namespace

TEST_CASE("steps on a device have the CPU's losses, and the device's own time") {
  const LearnableGraph graph;
  for (const std::string model : {"sage", "gcn", "gat"}) {
    CAPTURE(model);
    TrainOptions options;
    options.model = model;
    options.hidden = 16;
    options.dropout = 0;
    const StepRun expected = run_steps(graph, "cpu", options);
    const StepRun outcome = run_steps(graph, "cuda", options);
    REQUIRE(outcome.losses.size() == batch_count);
    for (std::size_t i = 0; i < batch_count; ++i) {
      CHECK(std::abs(outcome.losses[i] - expected.losses[i]) < 1e-4);
    }
    CHECK(expected.seconds.size() == 4);
    REQUIRE(outcome.seconds.size() == 1);
    CHECK(outcome.seconds.front() > 0);
    CHECK(outcome.operators == expected.operators);
  }
}
