// A run depends on its options and its preparation, and on nothing else.
#include "engine/train/trainer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/nn/cross_entropy.h"
#include "engine/train/checkpoint.h"
#include "storage/base/units.h"
#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// The accuracy of a checkpoint over batches, by a model and a pipeline of its own.
double accuracy_of(const LearnableGraph& graph, const std::filesystem::path& checkpoint,
                   const TrainOptions& options, const std::vector<std::size_t>& batches) {
  const Preparation preparation = graph.open("none");
  CpuTier cpu_tier(preparation);
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const DatasetInfo& info = graph.dataset().info();
  const auto model = make_model(options.model, *backend,
                                {.feature_columns = info.feature_dim,
                                 .hidden_columns = options.hidden,
                                 .class_count = info.class_count,
                                 .layer_count = 2,
                                 .dropout = options.dropout,
                                 .head_count = options.head_count,
                                 .aggregator = options.aggregator,
                                 .residual = options.residual,
                                 .norm = options.norm,
                                 .seed = 999},
                                block_maxima(preparation));
  read_checkpoint(checkpoint, model->parameters());
  CrossEntropy loss(*backend, 64, info.class_count);
  PipelinedSource source(preparation, info, cpu_tier, {},
                         [&](std::uint64_t position) -> std::optional<std::size_t> {
                           if (position >= batches.size()) return std::nullopt;
                           return batches[position];
                         });
  LossSum all;
  while (const SourcedBatch* batch = source.next()) {
    const LossSum sum = loss.evaluate(model->forward(batch->view, {.is_training = false}), batch->view);
    all.correct_count += sum.correct_count;
    all.labelled_count += sum.labelled_count;
  }
  return static_cast<double>(all.correct_count) / static_cast<double>(all.labelled_count);
}

}  // namespace

TEST_CASE("losses are the same to the bit whatever threads, reader, slots, reads and caches") {
  const LearnableGraph graph;
  const RunResult expected = graph.train(short_run());
  REQUIRE(expected.step_losses.size() == 3 * 8);
  CHECK(expected.step_losses.back() < expected.step_losses.front());
  for (const std::size_t threads : {2U, 3U}) {
    CAPTURE(threads);
    CHECK(same_run(graph.train(short_run(), "tiny", threads), expected));
  }
  for (const char* name : {"none", "tiny", "all"}) {
    for (const char* engine : {"io_uring", "pread", "mmap"}) {
      CAPTURE(name);
      CAPTURE(engine);
      TrainOptions options = short_run();
      options.pipeline = {.slot_count = 3, .io_engine = engine, .queue_depth = 2, .read_bytes = 4096};
      CHECK(same_run(graph.train(options, name), expected));
    }
  }
  for (const std::uint32_t slots : {2U, 7U}) {
    TrainOptions options = short_run();
    options.pipeline.slot_count = slots;
    options.pipeline.direct = false;
    CHECK(same_run(graph.train(options), expected));
  }
}

TEST_CASE("the seed decides: the same one repeats a run, another gives another") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  const RunResult first = graph.train(options);
  CHECK(same_run(graph.train(options), first));
  options.schedule.seed = 6;
  CHECK(graph.train(options).step_losses != first.step_losses);
}

TEST_CASE("the best epoch's model is kept, and the test accuracy is its own") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.schedule.epochs = 8;
  options.optimizer.learning_rate = 0.1F;  // large enough that the last epoch is seldom the best
  const Preparation preparation = graph.open("none");
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    CAPTURE(seed);
    options.schedule.seed = seed;
    options.checkpoint = graph.folder() / "best.safetensors";
    const RunResult run = graph.train(options);
    double best = -1;
    std::uint32_t best_epoch = 0;
    for (const EpochResult& epoch : run.epochs) {
      REQUIRE(epoch.valid.has_value());
      if (epoch.valid->accuracy <= best) continue;
      best = epoch.valid->accuracy;
      best_epoch = epoch.epoch;
    }
    CHECK(run.best_epoch == best_epoch);
    CHECK(run.valid_score == best);
    const EpochSchedule schedule(preparation, options.schedule);
    CHECK(accuracy_of(graph, options.checkpoint, options, schedule.valid_batches()) == best);
    CHECK(accuracy_of(graph, options.checkpoint, options, schedule.test_batches()) == run.test->accuracy);
  }
}

TEST_CASE("with any options, a run learns, and its checkpoint has all that its accuracies came from") {
  const LearnableGraph graph;
  const Preparation preparation = graph.open("none");
  for (TrainOptions options : runs_with_options()) {
    CAPTURE(options.model);
    options.schedule.epochs = 6;
    options.checkpoint = graph.folder() / "best.safetensors";
    const RunResult run = graph.train(options);
    CHECK(run.epochs.back().train.loss < 0.9 * run.epochs.front().train.loss);
    const EpochSchedule schedule(preparation, options.schedule);
    CHECK(accuracy_of(graph, options.checkpoint, options, schedule.valid_batches()) == run.valid_score);
    CHECK(accuracy_of(graph, options.checkpoint, options, schedule.test_batches()) == run.test->accuracy);
  }
}

TEST_CASE("with any options, losses are the same to the bit whatever threads and caches") {
  const LearnableGraph graph;
  for (const TrainOptions& options : runs_with_options()) {
    CAPTURE(options.model);
    const RunResult expected = graph.train(options);
    CHECK(same_run(graph.train(options, "none", 3), expected));
    CHECK(same_run(graph.train(options, "all", 2), expected));
    TrainOptions in_order = options;
    in_order.schedule.shuffle = false;
    CHECK(same_run(graph.train(in_order, "belady"), graph.train(in_order, "tiny")));
  }
}

TEST_CASE("validation is due every so many epochs and after the last; without it the last epoch is kept") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.schedule.epochs = 5;
  options.schedule.eval_every = 2;
  RunResult run = graph.train(options);
  std::vector<bool> validated;
  for (const EpochResult& epoch : run.epochs) validated.push_back(epoch.valid.has_value());
  CHECK(validated == std::vector<bool>{false, true, false, true, true});

  const auto losses = run.step_losses;
  options.schedule.eval_every = 0;
  run = graph.train(options);
  CHECK(run.best_epoch == 5);
  CHECK_FALSE(run.valid_score.has_value());
  CHECK(run.test.has_value());
  CHECK(run.step_losses == losses);  // validation never changes training

  const LearnableGraph without(0.0);
  run = without.train(short_run());
  CHECK(run.best_epoch == 3);
  CHECK_FALSE(run.valid_score.has_value());
}

TEST_CASE("a schedule holds every training batch once an epoch, in the order that the epoch has") {
  const LearnableGraph graph(0.1, 3);
  const Preparation preparation = graph.open("none");
  for (const std::uint32_t eval_every : {0U, 1U, 3U}) {
    EpochSchedule schedule(preparation, {.epochs = 7, .eval_every = eval_every, .seed = 4});
    std::uint64_t position = 0;
    for (std::uint32_t epoch = 0; epoch < 7; ++epoch) {
      auto order = schedule.epoch_order(epoch);
      for (const std::size_t index : order) CHECK(schedule.at(position++) == index);
      if (schedule.validates_after(epoch)) {
        for (const std::size_t index : schedule.valid_batches()) CHECK(schedule.at(position++) == index);
      }
      for (const std::size_t index : order) {
        const BatchKey& key = preparation.pool().entries()[index].key;
        CHECK(key.split == Split::train);
        CHECK(key.epoch == epoch % 3);
      }
      std::ranges::sort(order);
      CHECK(order == schedule.train_batches(epoch % 3));
      CHECK(std::ranges::adjacent_find(order) == order.end());
      CHECK(order.size() == preparation.info().train_batches_per_epoch);
    }
    CHECK(schedule.at(position) == std::nullopt);
    CHECK(schedule.epoch_order(0) != schedule.epoch_order(3));  // the same batches, in another order
  }
  const EpochSchedule in_order(preparation, {.epochs = 2, .seed = 4, .shuffle = false});
  CHECK(in_order.epoch_order(1) == in_order.train_batches(1));
}

TEST_CASE("a budget too small is refused with the least that does, and that does") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.memory_bytes = 1U << 20;
  std::string sentence;
  try {
    graph.train(options);
  } catch (const Error& error) {
    sentence = error.what();
    CHECK(error.kind() == Kind::config);
  }
  std::smatch match;
  REQUIRE_MESSAGE(std::regex_search(sentence, match, std::regex("([0-9.]+ ?[A-Za-z]+) would do")), sentence);
  options.memory_bytes = parse_bytes(match[1].str(), "--memory");
  const RunResult run = graph.train(options);
  CHECK(run.memory.total_bytes() <= options.memory_bytes);
  CHECK(run.memory.slot_count >= 2);
  CHECK(same_run(run, graph.train(short_run())));
  options.memory_bytes -= 2U << 20;
  EXPECT_ERROR(graph.train(options), Kind::config, "would do");
}

TEST_CASE("options that cannot be are refused before anything is read") {
  const LearnableGraph graph;
  const auto refused = [&](const auto& change, const char* part) {
    TrainOptions options = short_run();
    change(options);
    EXPECT_ERROR(graph.train(options), Kind::config, part);
    const Preparation preparation = graph.open("tiny");
    ThreadPool pool(1);
    const auto backend = make_cpu_backend(pool);
    EXPECT_ERROR(plan_training(graph.dataset(), preparation, options, *backend), Kind::config, part);
  };
  refused([](TrainOptions& options) { options.optimizer.learning_rate = -1; }, "learning rate");
  refused([](TrainOptions& options) { options.optimizer.learning_rate = INFINITY; }, "learning rate");
  refused([](TrainOptions& options) { options.optimizer.weight_decay = NAN; }, "weight decay");
  refused([](TrainOptions& options) { options.dropout = 1; }, "dropout");
  refused([](TrainOptions& options) { options.model = "gpt"; }, "gpt");
}
