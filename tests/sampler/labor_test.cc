#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <vector>

#include "sampler/neighbor_sampler.h"
#include "storage/base/random.h"

using namespace gneiss;

namespace {

// Every node of [0, node_count) has `degree` distinct in-neighbors among the first `source_count` nodes.
struct Graph {
  Graph(std::uint32_t node_count, std::uint32_t degree, std::uint32_t source_count) {
    indptr.push_back(0);
    for (std::uint32_t node = 0; node < node_count; ++node) {
      RandomStream random(mix_key(99, node));
      std::set<std::uint32_t> sources;
      while (sources.size() < degree) sources.insert(static_cast<std::uint32_t>(random.below(source_count)));
      for (const std::uint32_t source : sources) indices.push_back(static_cast<NodeId>(source));
      indptr.push_back(indices.size());
    }
  }
  Topology view() const { return {indptr, indices}; }
  std::vector<std::uint64_t> indptr;
  std::vector<NodeId> indices;
};

SampledBatch sample(const Graph& graph, SamplerOptions options, BatchKey key, std::uint32_t seed_count) {
  std::vector<NodeId> seeds;
  for (std::uint32_t i = 0; i < seed_count; ++i) seeds.push_back(static_cast<NodeId>(i));
  SampledBatch batch;
  NeighborSampler(graph.view(), std::move(options)).sample(key, seeds, batch);
  return batch;
}

double z_of_count(double count, double trials, double probability) {
  return (count - trials * probability) / std::sqrt(trials * probability * (1 - probability));
}

}  // namespace

TEST_CASE("LABOR takes each neighbor equally often, the fanout exactly, and distinct ones") {
  const Graph graph(40, 12, 40);
  constexpr int trials = 20'000;
  std::vector<int> taken(12);
  std::vector<std::pair<double, std::uint64_t>> scratch;
  std::vector<std::uint64_t> positions;
  for (std::uint32_t trial = 0; trial < trials; ++trial) {
    const LaborVariates variates(5, {.batch = trial}, 0, {});
    draw_labor(graph.view().neighbors(NodeId{3}), 5, variates, scratch, positions);
    REQUIRE(positions.size() == 5);
    CHECK(std::set(positions.begin(), positions.end()).size() == 5);
    for (const std::uint64_t position : positions) ++taken[position];
  }
  for (const int count : taken) CHECK(std::abs(z_of_count(count, trials, 5.0 / 12)) < 4.5);
}

TEST_CASE(
    "with batch dependency each neighbor is still taken equally often, and batches resemble their "
    "neighbors") {
  const Graph graph(2, 200, 400);
  const auto neighbors = graph.view().neighbors(NodeId{0});
  std::vector<std::pair<double, std::uint64_t>> scratch;
  const auto draw = [&](std::uint32_t batch, std::uint32_t dependency) {
    std::vector<std::uint64_t> positions;
    draw_labor(neighbors, 50, LaborVariates(1, {.batch = batch}, 0, {.batch_dependency = dependency}),
               scratch, positions);
    return std::set(positions.begin(), positions.end());
  };
  const auto common = [](const auto& a, const auto& b) {
    std::vector<std::uint64_t> both;
    std::ranges::set_intersection(a, b, std::back_inserter(both));
    return both.size();
  };
  std::vector<int> taken(200);
  std::size_t next_to = 0;
  std::size_t independent = 0;
  constexpr std::uint32_t trials = 4000;
  for (std::uint32_t trial = 0; trial < trials; ++trial) {
    // Far apart, so that trials are independent; in the middle of a period, where two normals mix.
    const auto now = draw(trial * 64 + 5, 16);
    for (const std::uint64_t position : now) ++taken[position];
    next_to += common(now, draw(trial * 64 + 6, 16));
    independent += common(draw(trial * 64 + 5, 1), draw(trial * 64 + 6, 1));
  }
  for (const int count : taken) CHECK(std::abs(z_of_count(count, trials, 0.25)) < 4.5);
  CHECK(next_to > independent * 3);
}

TEST_CASE("the mean over LABOR's neighbors is an unbiased estimate of the mean over all") {
  const Graph graph(1, 30, 30);
  std::vector<double> feature(30);
  double full_mean = 0;
  for (std::uint32_t i = 0; i < 30; ++i) full_mean += (feature[i] = std::exp(0.2 * i)) / 30;
  constexpr int trials = 20'000;
  double sum = 0;
  double squares = 0;
  std::vector<std::pair<double, std::uint64_t>> scratch;
  std::vector<std::uint64_t> positions;
  for (std::uint32_t trial = 0; trial < trials; ++trial) {
    draw_labor(graph.view().neighbors(NodeId{0}), 6, LaborVariates(2, {.batch = trial}, 1, {}), scratch,
               positions);
    double mean = 0;
    for (const std::uint64_t position : positions) mean += feature[position] / 6;
    sum += mean;
    squares += mean * mean;
  }
  const double mean = sum / trials;
  const double deviation = std::sqrt((squares / trials - mean * mean) / trials);
  CHECK(std::abs(mean - full_mean) < 4.5 * deviation);
}

TEST_CASE("where neighborhoods overlap LABOR needs far fewer input rows than uniform sampling") {
  const Graph graph(2000, 50, 400);
  const auto uniform = sample(graph, {.fanouts = {10}, .seed = 1}, {}, 200);
  const auto labor = sample(graph, {.fanouts = {10}, .seed = 1, .kind = SamplerKind::labor}, {}, 200);
  CHECK(labor.blocks[0].indices.size() == uniform.blocks[0].indices.size());
  CHECK(labor.nodes.size() < uniform.nodes.size() - 100);
}

TEST_CASE("layer dependency shares the variates of all hops, and batches of one key are the same") {
  const Graph graph(500, 40, 500);
  const SamplerOptions apart{.fanouts = {10, 10}, .seed = 3, .kind = SamplerKind::labor};
  SamplerOptions shared = apart;
  shared.labor.layer_dependency = true;
  const auto first = sample(graph, apart, {.batch = 1}, 20);
  CHECK(first.nodes == sample(graph, apart, {.batch = 1}, 20).nodes);
  CHECK(first.nodes != sample(graph, apart, {.batch = 2}, 20).nodes);
  CHECK(sample(graph, shared, {.batch = 1}, 20).nodes.size() < first.nodes.size());
  const BatchKey key{.batch = 1};
  CHECK(LaborVariates(3, key, 0, {.layer_dependency = true}).of(NodeId{7}) ==
        LaborVariates(3, key, 1, {.layer_dependency = true}).of(NodeId{7}));
  CHECK(LaborVariates(3, key, 0, {}).of(NodeId{7}) != LaborVariates(3, key, 1, {}).of(NodeId{7}));
}
