// The rate of a step follows its schedule, and patience ends a run where it would end after an interruption
// too.
#include "engine/train/learning_rate.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

TEST_CASE("rates warm up, fall along a cosine to zero, or step down by the epoch") {
  const auto at = [](const LearningRateOptions& options, std::uint64_t step) {
    return rate_factor(options, step, 10, 100);
  };
  const LearningRateOptions constant;
  for (const std::uint64_t step : {0U, 50U, 99U}) CHECK(at(constant, step) == 1);
  const LearningRateOptions warm{.warmup_steps = 4};
  CHECK(at(warm, 0) == 0.25);
  CHECK(at(warm, 3) == 1);
  CHECK(at(warm, 99) == 1);

  const LearningRateOptions cosine{.schedule = RateSchedule::cosine, .warmup_steps = 20};
  CHECK(at(cosine, 9) == 0.5);
  CHECK(at(cosine, 20) == 1);
  CHECK(at(cosine, 40) == doctest::Approx(0.8535533906));  // a quarter of the way: (1 + cos(pi / 4)) / 2
  CHECK(at(cosine, 60) == doctest::Approx(0.5));
  CHECK(at(cosine, 100) == doctest::Approx(0));
  for (std::uint64_t step = 21; step < 100; ++step) CHECK(at(cosine, step) < at(cosine, step - 1));
  const LearningRateOptions all_warmup{.schedule = RateSchedule::cosine, .warmup_steps = 200};
  CHECK(at(all_warmup, 99) == 0.5);

  const LearningRateOptions steps{.schedule = RateSchedule::step, .step_epochs = 3, .gamma = 0.5F};
  CHECK(at(steps, 29) == 1);
  CHECK(at(steps, 30) == 0.5);
  CHECK(at(steps, 99) == 0.125);

  for (const char* name : {"constant", "cosine", "step"}) CHECK(name_of(parse_rate_schedule(name)) == name);
  EXPECT_ERROR(parse_rate_schedule("linear"), Kind::config, "constant, cosine or step");
  EXPECT_ERROR(check_learning_rate({.step_epochs = 0}), Kind::config, "--lr-step-epochs");
  EXPECT_ERROR(check_learning_rate({.gamma = 0}), Kind::config, "--lr-gamma");
  EXPECT_ERROR(check_learning_rate({.gamma = 1.5F}), Kind::config, "--lr-gamma");
}

TEST_CASE("a schedule changes a run from the step on at which it differs") {
  const LearnableGraph graph;
  const RunResult constant = graph.train(short_run());
  TrainOptions options = short_run();
  options.learning_rate = {.schedule = RateSchedule::step, .step_epochs = 2, .gamma = 0.1F};
  const RunResult stepped = graph.train(options);
  // Three epochs of eight batches: the first step with another rate is the seventeenth, seen in the loss
  // after it.
  const auto first = std::span(constant.step_losses).first(17);
  CHECK(std::ranges::equal(first, std::span(stepped.step_losses).first(17)));
  CHECK(constant.step_losses[17] != stepped.step_losses[17]);
  options.learning_rate = {.warmup_steps = 5};
  CHECK(graph.train(options).step_losses[1] != constant.step_losses[1]);
}

TEST_CASE("patience ends a run, at the same epoch after an interruption, with the best model") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.schedule.epochs = 40;
  options.optimizer.learning_rate = 0.1F;
  options.patience = 3;
  const RunResult stopped = graph.train(options);
  REQUIRE(stopped.epochs.size() < 40);
  CHECK(stopped.epochs.size() == stopped.best_epoch + 3);

  options.state = graph.folder() / "state";
  CHECK_THROWS_AS(graph.train(options, "tiny", 1,
                              [&](const EpochResult& done) {
                                if (done.epoch == stopped.best_epoch + 2) throw std::runtime_error("killed");
                              }),
                  std::runtime_error);
  options.resume = true;
  const RunResult resumed = graph.train(options);
  CHECK(resumed.resumed_after + resumed.epochs.size() == stopped.epochs.size());
  CHECK(resumed.test == stopped.test);
  CHECK(graph.train(options).epochs.empty());  // nothing is left to do
}
