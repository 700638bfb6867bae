// Whole runs on a device: what it computes is what the CPU does, whatever comes first on it, wherever rows
// lie.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/engine/device_run.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint32_t feature_dim = 200;  // rows large enough to be shared on disk

// Beside the graph's own preparations: all rows on the device; all four tiers, fixed, exchanged and shared.
void prepare_tiers(LearnableGraph& graph) {
  graph.prepare_tiers("gpu-all", 1ULL << 30, 0, Residency::fixed);
  graph.prepare_tiers("tiers", 40'000, 40'000, Residency::fixed);
  graph.prepare_tiers("belady-tiers", 40'000, 80'000, Residency::belady);
  const std::uint64_t whole = graph.open("tiers").bytes();
  graph.prepare_tiers("shared-tiers", 40'000, 40'000, Residency::fixed, whole * 4 / 5);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
  }
  return largest;
}

}  // namespace

TEST_CASE("a run on the device has the CPU's losses, but for rounding, and its scores") {
  const LearnableGraph graph;
  const RunResult expected = graph.train(short_run());
  const RunResult run = train_on_device(graph, short_run(), "tiny");
  CHECK(largest_difference(run.step_losses, expected.step_losses) < 1e-4);
  REQUIRE(run.epochs.size() == expected.epochs.size());
  CHECK(run.test.has_value());
}

TEST_CASE("a run on the device is the same to the bit whatever comes first on it, and wherever rows lie") {
  LearnableGraph graph(0.1, 1, 5, false, feature_dim);
  prepare_tiers(graph);
  TrainOptions options = short_run();
  options.schedule.shuffle = false;
  const RunResult expected = train_on_device(graph, options, "none");
  for (const std::string name : {"none", "tiny", "all", "gpu-all", "tiers", "belady-tiers", "shared-tiers"}) {
    for (const CpuRowPath path : {CpuRowPath::bus, CpuRowPath::staged}) {
      for (const std::uint64_t seed : {0U, 3U}) {
        CAPTURE(name);
        CAPTURE(seed);
        const RunResult run = train_on_device(graph, options, name, {.seed = seed, .path = path});
        CHECK(same_run(run, expected));
      }
    }
  }
  CHECK(graph.open("shared-tiers").pack().is_shared());
}

TEST_CASE("with any options, a run on the device learns as the CPU does") {
  const LearnableGraph graph;
  for (TrainOptions options : runs_with_options()) {
    CAPTURE(options.model);
    const RunResult expected = graph.train(options);
    const RunResult run = train_on_device(graph, options, "tiny", {.seed = 3});
    CHECK(largest_difference(run.step_losses, expected.step_losses) < 2e-3);
    CHECK(same_run(train_on_device(graph, options, "tiny", {.seed = 0}), run));
  }
}

TEST_CASE(
    "columns of labels, one column, weights of classes and exact evaluation are learned on the device") {
  const LearnableGraph classes;
  TrainOptions weighted = short_run();
  weighted.objective.class_weights = "balanced";
  weighted.objective.label_smoothing = 0.1F;
  weighted.optimizer.gradient_norm_max = 0.5F;
  TrainOptions exact = short_run();
  exact.exact_evaluation = true;
  const LearnableGraph columns(0.1, 1, 5, true);
  const LearnableGraph two(0.1, 1, 2);
  TrainOptions binary = short_run();
  binary.objective.task = Task::binary;
  for (const auto& [graph, options] : {std::pair<const LearnableGraph*, TrainOptions>{&classes, weighted},
                                       {&classes, exact},
                                       {&columns, short_run()},
                                       {&two, binary}}) {
    const RunResult expected = graph->train(options);
    const RunResult run = train_on_device(*graph, options, "tiny", {.seed = 3});
    CHECK(largest_difference(run.step_losses, expected.step_losses) < 1e-3);
    REQUIRE(run.valid_score.has_value());
    CHECK(std::abs(*run.valid_score - *expected.valid_score) < 0.03);
    CHECK(same_run(train_on_device(*graph, options, "all", {.seed = 1, .path = CpuRowPath::staged}), run));
  }
}

TEST_CASE("products in tf32 and bf16 learn what f32 does, and are the same from run to run") {
  const LearnableGraph graph;
  const RunResult expected = graph.train(short_run());
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    CAPTURE(name_of(precision));
    const RunResult run = train_on_device(graph, short_run(), "tiny", {.seed = 3, .precision = precision});
    CHECK(largest_difference(run.step_losses, expected.step_losses) < 0.05);
    CHECK(largest_difference(run.step_losses, expected.step_losses) > 0);
    CHECK(same_run(train_on_device(graph, short_run(), "none", {.seed = 0, .precision = precision}), run));
  }
}

TEST_CASE("a run on the device that was killed after an epoch goes on to the same losses and scores") {
  LearnableGraph graph(0.1, 2, 5, false, feature_dim);
  prepare_tiers(graph);
  for (const std::string name : {"tiers", "belady-tiers"}) {
    CAPTURE(name);
    TrainOptions options = short_run();
    options.schedule.shuffle = false;
    const RunResult expected = train_on_device(graph, options, name);
    options.state = graph.folder() / (name + ".state");
    struct Killed {};
    CHECK_THROWS_AS(DeviceRun(graph, options, name, {}).train([](const EpochResult& epoch) {
      if (epoch.epoch == 2) throw Killed();  // before its state is written: the first epoch's is there
    }),
                    Killed);
    options.resume = true;
    const RunResult resumed = train_on_device(graph, options, name, {.seed = 7});
    CHECK(resumed.resumed_after == 1);
    CHECK(resumed.test == expected.test);
    CHECK(std::ranges::equal(resumed.step_losses,
                             std::span(expected.step_losses).last(resumed.step_losses.size())));
    // On the CPU it is another run.
    EXPECT_ERROR(graph.train(options, name), Kind::config, "device");
  }
}

TEST_CASE("a loss that is no number is told of with its batch, though later batches were under way") {
  const LearnableGraph graph;
  TrainOptions options = short_run();
  options.optimizer.learning_rate = 1e30F;
  EXPECT_ERROR(train_on_device(graph, options, "tiny"), Kind::input, "the loss is no longer a number");
}

TEST_CASE("damage in the middle of a run is told of with its batch") {
  const LearnableGraph graph;
  const auto path = graph.folder() / "d.gneiss" / "prepared" / "none" / "pack.bin";
  DeviceRun run(graph, short_run(), "none", {});
  const Preparation preparation = graph.open("none");
  const SegmentEntry& entry = preparation.pack().entries()[5];
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.offset + 8));
    file.put('\x55');
    file.put('\x55');
  }
  EXPECT_ERROR(run.train(), Kind::corruption, to_string(entry.key).c_str());
}

TEST_CASE("the timeline has copies and the device's computation, by the device's clock") {
  const LearnableGraph graph;
  Trace trace;
  TrainOptions options = short_run();
  options.pipeline.trace = &trace;
  const RunResult run = train_on_device(graph, options, "tiny");
  CHECK(run.epochs.back().times.device_seconds > 0);
  CHECK(run.epochs.back().times.uploader.busy_seconds > 0);
  std::map<std::string, int> count;
  const auto timeline = nlohmann::json::parse(trace.text());
  for (const auto& event : timeline.at("traceEvents")) {
    if (event.at("ph") == "X") ++count[event.at("name").get<std::string>()];
    if (event.at("name") == "thread_name") ++count[event.at("args").at("name").get<std::string>()];
  }
  CHECK(count.at("upload") == count.at("read") + 1);  // and the lane's name
  CHECK(count.at("device") == 1);
  CHECK(count.at("compute") == count.at("upload"));
}
