// The gpu tier changes no number of a run, and counts against the memory of one that computes on the CPU.
#include <doctest/doctest.h>

#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint32_t feature_dim = 200;
constexpr std::uint64_t gpu_bytes = 50 * 4 * feature_dim;

// A graph whose rows are large enough to be shared on disk.
LearnableGraph graph_with_large_rows(std::uint32_t sample_epochs) {
  return LearnableGraph(0.1, sample_epochs, 5, false, feature_dim);
}

// Beside the graph's own preparations: the gpu tier alone, with fixed and exchanged rows, and shared ones.
void prepare_with_gpu_tier(LearnableGraph& graph) {
  graph.prepare_tiers("gpu-alone", gpu_bytes, 0, Residency::fixed);
  graph.prepare_tiers("gpu-all", 1ULL << 30, 0, Residency::fixed);
  graph.prepare_tiers("gpu-fixed", gpu_bytes, 40'000, Residency::fixed);
  graph.prepare_tiers("gpu-belady", gpu_bytes, 80'000, Residency::belady);
  const std::uint64_t whole = graph.open("gpu-fixed").bytes();
  graph.prepare_tiers("gpu-shared", gpu_bytes, 40'000, Residency::fixed, whole * 4 / 5);
}

}  // namespace

TEST_CASE("losses and accuracies do not depend on the gpu tier, to the bit") {
  constexpr std::uint32_t sample_epochs = 2;
  LearnableGraph graph = graph_with_large_rows(sample_epochs);
  prepare_with_gpu_tier(graph);
  TrainOptions options = short_run();
  options.schedule.shuffle = false;
  const RunResult expected = graph.train(options, "none");
  CHECK(expected.test.has_value());
  CHECK(expected.epochs[0].cost.gpu_rows == 0);
  for (const std::string name : {"gpu-alone", "gpu-all", "gpu-fixed", "gpu-belady", "gpu-shared"}) {
    CAPTURE(name);
    const RunResult result = graph.train(options, name, 2);
    CHECK(same_run(result, expected));
    const BatchCost& cost = result.epochs[0].cost;
    CHECK(cost.gpu_rows > 0);
    CHECK(cost.gpu_rows + cost.cpu_rows + cost.disk_rows == cost.input_rows);
    CHECK(cost.input_rows == expected.epochs[0].cost.input_rows);
  }
  CHECK(graph.open("gpu-shared").pack().is_shared());
  CHECK(graph.open("gpu-belady").info().planned == Residency::belady);
}

TEST_CASE("a run goes on with a preparation of another gpu cache") {
  LearnableGraph graph = graph_with_large_rows(1);
  prepare_with_gpu_tier(graph);
  const RunResult expected = graph.train(short_run(), "none");
  TrainOptions options = short_run();
  options.state = graph.folder() / "state";
  options.schedule.epochs = 2;
  static_cast<void>(graph.train(options, "none"));
  options.schedule.epochs = 3;
  options.resume = true;
  const RunResult resumed = graph.train(options, "gpu-fixed");
  CHECK(resumed.resumed_after == 2);
  CHECK(resumed.test == expected.test);
}

TEST_CASE("where the CPU computes the gpu tier counts against the memory, and a refusal names it") {
  LearnableGraph graph = graph_with_large_rows(1);
  prepare_with_gpu_tier(graph);
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const auto plan = [&](const std::string& name, std::uint64_t memory_bytes) {
    TrainOptions options = short_run();
    options.memory_bytes = memory_bytes;
    return plan_training(graph.dataset(), graph.open(name), options, *backend);
  };
  CHECK(plan("tiny", 1ULL << 30).gpu_tier_bytes == 0);
  const MemoryPlan held = plan("gpu-fixed", 1ULL << 30);
  CHECK(held.gpu_tier_bytes == gpu_bytes);
  MemoryPlan without = held;
  without.gpu_tier_bytes = 0;
  CHECK(held.total_bytes() == without.total_bytes() + gpu_bytes);
  EXPECT_ERROR(plan("gpu-fixed", 1 << 20), Kind::config, "(gpu tier 39.06 KiB in host memory, cpu tier");
  EXPECT_ERROR(plan("gpu-fixed", 1 << 20), Kind::config, "a smaller --gpu-cache, --cpu-cache");
  EXPECT_ERROR(plan("tiny", 1 << 20), Kind::config, "would do (cpu tier");
}
