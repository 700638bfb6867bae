// What the cpu tier does with its rows changes no number of a run.
#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

TrainOptions ordered_run() {
  TrainOptions options = short_run();
  options.schedule.epochs = 7;
  options.schedule.shuffle = false;
  return options;
}

}  // namespace

TEST_CASE("losses and accuracies are those of fixed rows in the same order, to the bit") {
  const LearnableGraph graph(0.1, 3);
  const RunResult expected = graph.train(ordered_run(), "tiny");
  const RunResult exchanged = graph.train(ordered_run(), "belady", 2);
  CHECK(same_run(exchanged, expected));
  CHECK(exchanged.test.has_value());
  CHECK(graph.open("belady").info().planned == Residency::belady);
  // Rows did come from the tier, and not the same in every epoch.
  CHECK(exchanged.epochs[0].cost.cpu_rows > 0);
  CHECK(exchanged.epochs[0].cost.cpu_rows == exchanged.epochs[3].cost.cpu_rows);
}

TEST_CASE("a run killed in the middle of the pool finds the tier's rows again") {
  const LearnableGraph graph(0.1, 3);
  const RunResult expected = graph.train(ordered_run(), "belady");
  for (const std::uint32_t killed_in : {2U, 3U, 4U, 6U}) {
    CAPTURE(killed_in);
    TrainOptions options = ordered_run();
    options.state = graph.folder() / "state";
    CHECK_THROWS_AS(graph.train(options, "belady", 1,
                                [&](const EpochResult& done) {
                                  if (done.epoch == killed_in) throw Killed();
                                }),
                    Killed);
    options.resume = true;
    const RunResult resumed = graph.train(options, "belady");
    CHECK(resumed.resumed_after == killed_in - 1);
    CHECK(resumed.valid_score == expected.valid_score);
    CHECK(resumed.test == expected.test);
    CHECK(std::ranges::equal(resumed.step_losses,
                             std::span(expected.step_losses).last(resumed.step_losses.size())));
    std::filesystem::remove(options.state);
  }
}

TEST_CASE("runs one after another on one tier begin alike") {
  const LearnableGraph graph(0.1, 3);
  const Preparation preparation = graph.open("belady");
  CpuTier cpu_tier(preparation);
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  TrainOptions options = ordered_run();
  options.schedule.epochs = 2;  // ends in the middle of the pool
  const auto run = [&] {
    return train(graph.dataset(), preparation, cpu_tier, options, *backend, [](const EpochResult&) {});
  };
  const RunResult first = run();
  CHECK(same_run(run(), first));
}

TEST_CASE("a shuffle is refused: the plan holds for one order") {
  const LearnableGraph graph;
  EXPECT_ERROR(static_cast<void>(graph.train(short_run(), "belady")), Kind::config,
               "train without a shuffle");
  // And before anything is begun, a run's folder too.
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  EXPECT_ERROR(plan_training(graph.dataset(), graph.open("belady"), short_run(), *backend), Kind::config,
               "train without a shuffle");
}
