// A run that was interrupted and goes on ends with the numbers of one that was not.
#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>

#include "engine/compute/cpu/bf16_kernels.h"
#include "storage/io/file.h"
#include "tests/engine/learnable_graph.h"
#include "tests/engine/stored_values.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// Trains until `epoch` has been computed, and ends before its state is written: that of the epoch before
// stays.
void train_until(const LearnableGraph& graph, const TrainOptions& options, std::uint32_t epoch) {
  CHECK_THROWS_AS(graph.train(options, "tiny", 1,
                              [&](const EpochResult& done) {
                                if (done.epoch == epoch) throw Killed();
                              }),
                  Killed);
}

TrainOptions resumable_run(const LearnableGraph& graph, const std::string& name) {
  TrainOptions options = short_run();
  options.schedule.epochs = 6;
  options.optimizer.learning_rate = 0.05F;  // the best epoch is not the last
  options.checkpoint = graph.folder() / (name + "-best");
  options.state = graph.folder() / (name + "-state");
  options.kept = {.folder = graph.folder() / (name + "-kept"), .suffix = "", .count = 2};
  return options;
}

// The same numbers, and the same files.
void check_equal(const RunResult& resumed, const TrainOptions& options, const RunResult& expected,
                 const TrainOptions& expected_options) {
  CHECK(std::ranges::equal(resumed.step_losses,
                           std::span(expected.step_losses).last(resumed.step_losses.size())));
  CHECK(resumed.epochs.size() + resumed.resumed_after == expected.epochs.size());
  CHECK(resumed.best_epoch == expected.best_epoch);
  CHECK(resumed.valid_score == expected.valid_score);
  CHECK(resumed.test == expected.test);
  CHECK(read_text_file(options.checkpoint) == read_text_file(expected_options.checkpoint));
  CHECK(read_text_file(options.state) == read_text_file(expected_options.state));
  const KeptCheckpoints kept(options.kept);
  const KeptCheckpoints expected_kept(expected_options.kept);
  CHECK(kept.epochs() == expected_kept.epochs());
  for (const std::uint32_t epoch : expected_kept.epochs()) {
    CHECK(read_text_file(kept.weights_path(epoch)) == read_text_file(expected_kept.weights_path(epoch)));
    CHECK(read_text_file(kept.state_path(epoch)) == read_text_file(expected_kept.state_path(epoch)));
  }
}

}  // namespace

TEST_CASE("a run killed after any epoch goes on to the same losses, weights and accuracies") {
  const LearnableGraph graph(0.1, 2);
  for (const std::uint32_t eval_every : {1U, 2U, 0U}) {
    CAPTURE(eval_every);
    TrainOptions whole = resumable_run(graph, "whole");
    whole.schedule.eval_every = eval_every;
    const RunResult expected = graph.train(whole);
    for (const std::uint32_t killed_in : {2U, 4U, 6U}) {
      CAPTURE(killed_in);
      TrainOptions options = resumable_run(graph, "killed");
      options.schedule.eval_every = eval_every;
      train_until(graph, options, killed_in);
      // The best weights of an epoch whose state was not written, or none.
      std::filesystem::remove(options.checkpoint);
      options.resume = true;
      const RunResult resumed = graph.train(options, "all", 3);
      CHECK(resumed.resumed_after == killed_in - 1);
      check_equal(resumed, options, expected, whole);
    }
  }
}

TEST_CASE("with any options, running statistics too go on to the same numbers after a kill") {
  const LearnableGraph graph;
  for (const TrainOptions& with_options : runs_with_options()) {
    CAPTURE(with_options.model);
    TrainOptions whole = with_options;
    whole.schedule.epochs = 4;
    whole.checkpoint = graph.folder() / "whole-best";
    whole.state = graph.folder() / "whole-state";
    const RunResult expected = graph.train(whole);
    TrainOptions options = whole;
    options.checkpoint = graph.folder() / "killed-best";
    options.state = graph.folder() / "killed-state";
    train_until(graph, options, 3);
    options.resume = true;
    const RunResult resumed = graph.train(options, "all", 3);
    CHECK(resumed.resumed_after == 2);
    check_equal(resumed, options, expected, whole);

    options.norm = options.norm == NormKind::none ? NormKind::layer : NormKind::none;
    EXPECT_ERROR(graph.train(options), Kind::config, "norm is");
  }
}

TEST_CASE("a run goes on from an older epoch whose state was kept, to the same end") {
  const LearnableGraph graph;
  TrainOptions whole = resumable_run(graph, "whole");
  whole.kept.count = 3;
  const RunResult expected = graph.train(whole);
  TrainOptions options = resumable_run(graph, "back");
  options.kept.count = 3;
  graph.train(options);
  const KeptCheckpoints kept(options.kept);
  REQUIRE(kept.epochs() == std::vector<std::uint32_t>{4, 5, 6});
  publish_link(kept.state_path(4), options.state);
  options.resume = true;
  const RunResult resumed = graph.train(options);
  CHECK(resumed.resumed_after == 4);
  check_equal(resumed, options, expected, whole);
  // Weights of an epoch are those that its state holds.
  const SafetensorsFile weights = SafetensorsFile::open(kept.weights_path(5));
  const SafetensorsFile state = SafetensorsFile::open(kept.state_path(5));
  const auto bias = stored_values<float>(weights, "convs.1.lin_l.bias");
  const auto values = stored_values<float>(state, "values");
  CHECK(std::ranges::equal(std::span(values).last(bias.size()), bias));
}

TEST_CASE("a finished run goes on with more epochs, and has nothing to do with as many") {
  const LearnableGraph graph;
  const TrainOptions whole = resumable_run(graph, "whole");
  const RunResult expected = graph.train(whole);
  TrainOptions options = resumable_run(graph, "part");
  options.schedule.epochs = 4;
  graph.train(options);
  options.resume = true;
  options.schedule.epochs = 6;
  check_equal(graph.train(options), options, expected, whole);
  const RunResult again = graph.train(options);
  CHECK(again.epochs.empty());
  check_equal(again, options, expected, whole);
  options.schedule.epochs = 3;
  EXPECT_ERROR(graph.train(options), Kind::config, "after 6 epochs, more than --epochs 3");

  // Stopped on the way without validation: what there is, is the best.
  options = resumable_run(graph, "unvalidated");
  options.schedule.eval_every = 0;
  train_until(graph, options, 4);
  options.resume = true;
  options.schedule.epochs = 3;
  const RunResult cut = graph.train(options);
  CHECK(cut.best_epoch == 3);
  TrainOptions three = resumable_run(graph, "three");
  three.schedule.eval_every = 0;
  three.schedule.epochs = 3;
  CHECK(cut.test == graph.train(three).test);
}

TEST_CASE("a state of the same graph with other splits is refused") {
  const LearnableGraph graph(0.1);
  const LearnableGraph other(0.2);
  REQUIRE(graph.dataset().fingerprint() == other.dataset().fingerprint());
  TrainOptions options = resumable_run(graph, "killed");
  train_until(graph, options, 2);
  options.resume = true;
  EXPECT_ERROR(other.train(options), Kind::config, "was begun on other splits of the dataset");
  CHECK(graph.train(options).resumed_after == 1);
}

TEST_CASE("a state of other options, of no run or with any byte changed is refused") {
  const LearnableGraph graph;
  TrainOptions options = resumable_run(graph, "killed");
  options.hidden = 3;
  train_until(graph, options, 2);
  options.resume = true;
  TrainOptions other = options;
  other.optimizer.learning_rate = 0.25F;
  EXPECT_ERROR(graph.train(other), Kind::config, "lr is \"0.05\" there and \"0.25\" here");
  other = options;
  other.hidden = 4;
  EXPECT_ERROR(graph.train(other), Kind::config, "hidden is 3 there and 4 here");
  if (cpu::has_bf16_products()) {
    const Preparation preparation = graph.open("tiny");
    ThreadPool pool(1);
    const auto backend = make_cpu_backend(pool, Precision::bf16);
    EXPECT_ERROR(epochs_done(graph.dataset(), preparation, options, *backend), Kind::config, "precision");
  }
  other = options;
  other.state = graph.folder() / "nothing";
  EXPECT_ERROR(graph.train(other), Kind::input, "nothing");

  const std::string whole = read_text_file(options.state);
  const Preparation preparation = graph.open("tiny");
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const auto refused = [&](const std::string& bytes) {
    write_text_file(options.state, bytes);
    try {
      epochs_done(graph.dataset(), preparation, options, *backend);
      return false;
    } catch (const Error& error) {
      return error.kind() == Kind::corruption || error.kind() == Kind::input;
    }
  };
  for (std::size_t at = 0; at < whole.size(); at += at < 1500 ? 1 : 7) {
    CAPTURE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 8);
    CHECK(refused(damaged));
  }
  for (std::size_t length = 0; length < whole.size(); length += 97) CHECK(refused(whole.substr(0, length)));
  write_text_file(options.state, whole);
  CHECK(graph.train(options).resumed_after == 1);
}
