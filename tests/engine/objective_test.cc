// Runs with other losses and metrics than the default: what they change, and what goes on after an
// interruption.
#include "engine/train/objective.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>

#include "engine/train/class_weights.h"
#include "storage/io/file.h"
#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("balanced weights are scikit-learn's: nodes over classes times nodes of the class") {
  const LearnableGraph graph;
  const auto labels = graph.dataset().read_labels().classes;
  std::vector<std::uint64_t> counts(graph.dataset().info().class_count);
  const auto nodes = graph.dataset().split(Split::train);
  for (const NodeId node : nodes) ++counts[static_cast<std::size_t>(labels[to_index(node)])];
  const auto weights = resolve_class_weights("balanced", graph.dataset());
  REQUIRE(weights.size() == counts.size());
  for (std::size_t c = 0; c < counts.size(); ++c) {
    const double expected =
        static_cast<double>(nodes.size()) / static_cast<double>(counts.size() * counts[c]);
    CHECK(weights[c] == doctest::Approx(expected));
  }
  CHECK(resolve_class_weights("none", graph.dataset()).empty());
  CHECK(resolve_class_weights("1,0.5,2e-1", graph.dataset()) == std::vector<float>{1, 0.5F, 0.2F});
  for (const char* text : {"", "1,", ",1", "1;2", "heavy", "1, 2"}) {
    CAPTURE(text);
    EXPECT_ERROR(parse_class_weights(text), Kind::config, "none, balanced or W1,W2,...");
  }
}

TEST_CASE("every option of the objective changes a run, and equal weights do not") {
  const LearnableGraph graph;
  const RunResult plain = graph.train(short_run());
  const auto differs = [&](const auto& change) {
    TrainOptions options = short_run();
    change(options);
    return graph.train(options).step_losses != plain.step_losses;
  };
  CHECK_FALSE(differs([](TrainOptions& o) { o.objective.class_weights = "1,1,1,1,1"; }));
  CHECK_FALSE(differs([](TrainOptions& o) { o.objective.metric = Metric::f1; }));
  CHECK_FALSE(differs([](TrainOptions& o) { o.optimizer.gradient_norm_max = 1e6F; }));
  CHECK(differs([](TrainOptions& o) { o.objective.class_weights = "1,2,1,1,1"; }));
  CHECK(differs([](TrainOptions& o) { o.objective.class_weights = "balanced"; }));
  CHECK(differs([](TrainOptions& o) { o.objective.label_smoothing = 0.1F; }));
  CHECK(differs([](TrainOptions& o) { o.optimizer.gradient_norm_max = 0.01F; }));

  const auto refused = [&](const auto& change, const char* part) {
    TrainOptions options = short_run();
    change(options);
    EXPECT_ERROR(graph.train(options), Kind::config, part);
  };
  refused([](TrainOptions& o) { o.objective.class_weights = "1,2"; }, "2 weights, the dataset has 5 classes");
  refused([](TrainOptions& o) { o.objective.label_smoothing = 1; }, "--label-smoothing");
  refused([](TrainOptions& o) { o.optimizer.gradient_norm_max = -1; }, "--gradient-clipping");
}

TEST_CASE("the metric decides the best epoch, and a run with every option goes on to the same bits") {
  const LearnableGraph graph(0.1, 2);
  TrainOptions whole = short_run();
  whole.schedule.epochs = 6;
  whole.optimizer.learning_rate = 0.05F;
  whole.optimizer.gradient_norm_max = 0.5F;
  whole.objective = {.metric = Metric::f1, .class_weights = "balanced", .label_smoothing = 0.1F};
  whole.checkpoint = graph.folder() / "whole-best";
  whole.state = graph.folder() / "whole-state";
  const RunResult expected = graph.train(whole);
  double best = -1;
  std::uint32_t best_epoch = 0;
  for (const EpochResult& epoch : expected.epochs) {
    if (epoch.valid->f1 <= best) continue;
    best = epoch.valid->f1;
    best_epoch = epoch.epoch;
  }
  CHECK(expected.metric == Metric::f1);
  CHECK(expected.best_epoch == best_epoch);
  CHECK(expected.valid_score == best);
  CHECK(same_run(graph.train(whole, "all", 3), expected));

  TrainOptions options = whole;
  options.checkpoint = graph.folder() / "killed-best";
  options.state = graph.folder() / "killed-state";
  CHECK_THROWS_AS(graph.train(options, "tiny", 1,
                              [](const EpochResult& done) {
                                if (done.epoch == 4) throw std::runtime_error("killed");
                              }),
                  std::runtime_error);
  options.resume = true;
  using Change = std::pair<void (*)(TrainOptions&), const char*>;
  for (const auto& [change, part] : {Change{[](TrainOptions& o) { o.objective.metric = Metric::accuracy; },
                                            "metric is \"f1\" there and not set here"},
                                     Change{[](TrainOptions& o) { o.objective.class_weights = "none"; },
                                            "class_weights is \"balanced\" there"},
                                     Change{[](TrainOptions& o) { o.objective.label_smoothing = 0.2F; },
                                            "label_smoothing is \"0.1\" there and \"0.2\" here"},
                                     Change{[](TrainOptions& o) { o.optimizer.gradient_norm_max = 1; },
                                            "gradient_clipping is \"0.5\" there and \"1\" here"}}) {
    TrainOptions other = options;
    change(other);
    EXPECT_ERROR(graph.train(other), Kind::config, part);
  }
  const RunResult resumed = graph.train(options, "none", 2);
  CHECK(resumed.resumed_after == 3);
  CHECK(std::ranges::equal(resumed.step_losses,
                           std::span(expected.step_losses).last(resumed.step_losses.size())));
  CHECK(resumed.best_epoch == expected.best_epoch);
  CHECK(resumed.valid_score == expected.valid_score);
  CHECK(resumed.test == expected.test);
  CHECK(read_text_file(options.checkpoint) == read_text_file(whole.checkpoint));
  CHECK(read_text_file(options.state) == read_text_file(whole.state));
}

TEST_CASE("columns of labels are learned by ROC-AUC, to the same bits for any threads, reader and cache") {
  const LearnableGraph graph(0.1, 2, 5, true);
  TrainOptions options = short_run();
  options.schedule.epochs = 12;
  options.dropout = 0;
  const RunResult run = graph.train(options);
  CHECK(run.metric == Metric::rocauc);
  REQUIRE(run.test.has_value());
  CHECK(*run.test->rocauc > 0.8);
  CHECK(*run.test->rocauc > *run.epochs.front().valid->rocauc);
  CHECK(run.test->accuracy > 0.75);
  double best = 0;
  for (const EpochResult& epoch : run.epochs) best = std::max(best, *epoch.valid->rocauc);
  CHECK(run.valid_score == best);
  CHECK(same_run(graph.train(options, "none", 3), run));
  options.pipeline = {.slot_count = 2, .io_engine = "mmap", .queue_depth = 1, .read_bytes = 4096};
  CHECK(same_run(graph.train(options, "all", 2), run));

  options = short_run();
  options.checkpoint = graph.folder() / "whole-best";
  options.state = graph.folder() / "whole-state";
  const RunResult expected = graph.train(options);
  TrainOptions killed = options;
  killed.checkpoint = graph.folder() / "killed-best";
  killed.state = graph.folder() / "killed-state";
  CHECK_THROWS_AS(graph.train(killed, "tiny", 1,
                              [](const EpochResult& done) {
                                if (done.epoch == 2) throw std::runtime_error("killed");
                              }),
                  std::runtime_error);
  killed.resume = true;
  const RunResult resumed = graph.train(killed, "none", 2);
  CHECK(resumed.resumed_after == 1);
  CHECK(resumed.test == expected.test);
  CHECK(read_text_file(killed.checkpoint) == read_text_file(options.checkpoint));
  CHECK(read_text_file(killed.state) == read_text_file(options.state));
}

TEST_CASE("two classes can be learned as one column, with one logit") {
  const LearnableGraph graph(0.1, 1, 2);
  TrainOptions options = short_run();
  options.schedule.epochs = 10;
  options.dropout = 0;
  options.objective.task = Task::binary;
  const RunResult run = graph.train(options);
  CHECK(run.metric == Metric::rocauc);
  CHECK(*run.test->rocauc > 0.8);
  CHECK(run.test->accuracy > 0.75);
  CHECK(same_run(graph.train(options, "all", 3), run));
  options.objective.metric = Metric::accuracy;
  CHECK(graph.train(options).metric == Metric::accuracy);
  options.objective = {};
  CHECK_FALSE(graph.train(options).test->rocauc.has_value());
  EXPECT_ERROR(resolve_objective({.metric = Metric::rocauc}, graph.dataset().info()), Kind::config,
               "--task binary");
}

TEST_CASE("a task that the labels are not of, and options of another loss, are refused") {
  const DatasetInfo classes{.class_count = 7};
  const DatasetInfo columns{.label_columns = 7};
  const auto refused = [](const ObjectiveOptions& options, const DatasetInfo& info, const char* part) {
    EXPECT_ERROR(resolve_objective(options, info), Kind::config, part);
  };
  refused({.task = Task::multi_class}, columns, "7 columns of labels, not a class a node");
  refused({.task = Task::multi_label}, classes, "one class a node");
  refused({.task = Task::binary}, classes, "the dataset has 7 classes");
  refused({.task = Task::binary}, columns, "the dataset has 7 columns");
  refused({.metric = Metric::rocauc}, classes, "use accuracy or f1");
  refused({.class_weights = "balanced"}, columns, "--task multi-label");
  refused({.label_smoothing = 0.1F}, columns, "--label-smoothing");
  CHECK(resolve_objective({}, columns).task == Task::multi_label);
  CHECK(resolve_objective({}, columns).metric == Metric::rocauc);
  CHECK(resolve_objective({}, classes).metric == Metric::accuracy);
  CHECK(logit_columns(resolve_objective({.task = Task::binary}, {.label_columns = 1}),
                      {.label_columns = 1}) == 1);
  for (const Task task : {Task::multi_class, Task::multi_label, Task::binary})
    CHECK(parse_task(name_of(task)) == task);
  EXPECT_ERROR(parse_task("regression"), Kind::config, "multi-class, multi-label or binary");
}
