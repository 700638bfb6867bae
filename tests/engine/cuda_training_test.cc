// Whole runs on a device, emulated: what the device computes is what the CPU does, whatever comes first on it.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/compute/cuda/cuda_backend.h"
#include "engine/train/device_side.h"
#include "tests/emulated_cuda/emulated_cuda.h"
#include "tests/engine/learnable_graph.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint64_t device_memory = 512ULL << 20;
constexpr std::uint32_t feature_dim = 200;  // rows large enough to be shared on disk

// Beside the graph's own preparations: all rows on the device; all four tiers, fixed, exchanged and shared.
void prepare_tiers(LearnableGraph& graph) {
  PreparationOptions options;
  options.fanouts = {4, 4};
  options.batch_size = 64;
  options.sample_epochs = 1;
  const auto prepare_as = [&](const std::string& name, std::uint64_t gpu, std::uint64_t cpu,
                              Residency residency, std::uint64_t disk_budget = 0) {
    options.gpu_cache_bytes = gpu;
    options.cpu_cache_bytes = cpu;
    options.residency = residency;
    graph.prepare(name, options, disk_budget);
  };
  prepare_as("gpu-all", 1ULL << 30, 0, Residency::fixed);
  prepare_as("tiers", 40'000, 40'000, Residency::fixed);
  prepare_as("belady-tiers", 40'000, 80'000, Residency::belady);
  const std::uint64_t whole = graph.open("tiers").bytes();
  prepare_as("shared-tiers", 40'000, 40'000, Residency::fixed, whole * 4 / 5);
}

struct DeviceRun {
  std::uint64_t seed = 2;  // of the order in which the device does things
  CpuRowPath path = CpuRowPath::bus;
  Precision precision = Precision::f32;
};

RunResult train_on_device(const LearnableGraph& graph, TrainOptions options, const std::string& name,
                          const DeviceRun& how = {}) {
  emulated_cuda::reset();
  emulated_cuda::set_device_memory(device_memory);
  emulated_cuda::set_seed(how.seed);
  const Preparation preparation = graph.open(name);
  CpuTier cpu_tier(preparation);
  ThreadPool pool(1);
  ThreadPool evaluation_pool(1);
  options.pipeline.pool = &pool;
  const auto host = make_cpu_backend(evaluation_pool);
  const auto backend = make_cuda_backend(0, how.precision);
  TrainOptions resolved = options;
  const DevicePlan plan = plan_device(graph.dataset(), preparation, resolved, *backend, backend->free_bytes());
  const DeviceSide side(*backend, plan, how.path, preparation, cpu_tier);
  options.pipeline.gpu_tier = side.gpu_tier();
  if (options.memory_bytes == 0) options.memory_bytes = 2ULL << 30;
  return train(graph.dataset(), preparation, cpu_tier, options, {*backend, &side.uploader(), *host},
               [](const EpochResult&) {});
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
