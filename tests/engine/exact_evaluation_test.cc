// Training that validates and tests over whole neighborhoods: its scores are those of exact inference, its
// steps those of any training.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/infer/exact_inference.h"
#include "engine/train/checkpoint.h"
#include "storage/base/units.h"
#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

TrainOptions exact_run(const LearnableGraph& graph) {
  TrainOptions options = short_run();
  options.exact_evaluation = true;
  options.checkpoint = graph.folder() / "best.safetensors";
  return options;
}

// Of a checkpoint on the labelled nodes of a split, by exact inference and counting.
double accuracy_of(const LearnableGraph& graph, const TrainOptions& options, Split split) {
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const ModelOptions model_options{.feature_columns = graph.dataset().info().feature_dim,
                                   .hidden_columns = options.hidden,
                                   .class_count = graph.dataset().info().class_count,
                                   .layer_count = 2,
                                   .head_count = options.head_count,
                                   .aggregator = options.aggregator,
                                   .residual = options.residual,
                                   .norm = options.norm};
  const ExactPlan plan = plan_exact_inference(
      graph.dataset(), *backend,
      {.model = options.model, .options = model_options, .layers = 2, .memory_bytes = 1ULL << 30});
  const auto model = make_model(options.model, *backend, model_options, plan.maxima(2));
  read_checkpoint(options.checkpoint, model->parameters());
  std::vector<std::int32_t> classes;
  infer_exactly(graph.dataset(), *model, plan, graph.folder(), [&](std::uint64_t, ConstMatrixView rows) {
    for (std::size_t row = 0; row < rows.rows; ++row) {
      const float* first = rows.row(row);
      classes.push_back(static_cast<std::int32_t>(std::max_element(first, first + rows.columns) - first));
    }
  });
  const auto labels = graph.dataset().read_labels().classes;
  double right = 0;
  double labelled = 0;
  for (const NodeId node : graph.dataset().split(split)) {
    if (labels[to_index(node)] < 0) continue;
    ++labelled;
    right += labels[to_index(node)] == classes[to_index(node)] ? 1 : 0;
  }
  return right / labelled;
}

}  // namespace

TEST_CASE("exact scores are those of exact inference, and change no step of the training") {
  const LearnableGraph graph;
  for (TrainOptions options : runs_with_options()) {
    CAPTURE(options.model);
    const RunResult sampled = graph.train(options);
    options.exact_evaluation = true;
    options.checkpoint = graph.folder() / "best.safetensors";
    const RunResult exact = graph.train(options);
    CHECK(exact.step_losses == sampled.step_losses);
    CHECK(exact.epochs.size() == 3);
    REQUIRE(exact.test);
    CHECK(exact.test->accuracy == doctest::Approx(accuracy_of(graph, options, Split::test)).epsilon(1e-12));
    CHECK(*exact.valid_score == doctest::Approx(accuracy_of(graph, options, Split::valid)).epsilon(1e-12));
    CHECK(std::isfinite(exact.test->loss));
    CHECK(same_run(exact, graph.train(options, "all", 3)));  // other caches, other threads
  }
}

TEST_CASE("exact evaluation of columns of labels keeps the scores of the whole split") {
  const LearnableGraph graph(0.1, 1, 5, /*has_columns=*/true);
  const RunResult run = graph.train(exact_run(graph));
  REQUIRE(run.test);
  CHECK(run.test->rocauc.value_or(0) > 0.6);
  CHECK(run.metric == Metric::rocauc);
  CHECK(run.valid_score.value_or(0) > 0.6);
}

TEST_CASE("exact evaluation follows --eval-every, and nothing is evaluated without it") {
  const LearnableGraph graph;
  TrainOptions options = exact_run(graph);
  options.schedule.epochs = 5;
  options.schedule.eval_every = 2;
  std::vector<bool> validated;
  for (const EpochResult& epoch : graph.train(options).epochs) validated.push_back(epoch.valid.has_value());
  CHECK(validated == std::vector<bool>{false, true, false, true, true});
  options.schedule.eval_every = 0;
  const RunResult run = graph.train(options);
  CHECK_FALSE(run.valid_score);
  CHECK(run.best_epoch == 5);
  CHECK(run.test);
}

TEST_CASE("the memory of exact evaluation is planned with the training's") {
  const LearnableGraph graph;
  TrainOptions options = exact_run(graph);
  const RunResult free = graph.train(options);
  CHECK(free.memory.evaluation_bytes > 0);
  options.memory_bytes = 1U << 20;
  std::string sentence;
  try {
    graph.train(options);
  } catch (const Error& error) {
    sentence = error.what();
  }
  std::smatch match;
  REQUIRE_MESSAGE(std::regex_search(sentence, match, std::regex("([0-9.]+ ?[A-Za-z]+) would do")), sentence);
  CHECK(sentence.find("exact evaluation") != std::string::npos);
  options.memory_bytes = parse_bytes(match[1].str(), "--memory");
  const RunResult tight = graph.train(options);
  CHECK(tight.step_losses == free.step_losses);
  CHECK(tight.test->accuracy == doctest::Approx(free.test->accuracy).epsilon(0.02));
}
