// Does LABOR save as many input rows as it should? Against brute force with random numbers of its own.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "sampler/neighbor_sampler.h"

using namespace gneiss;

namespace {

constexpr std::uint32_t node_count = 2000;
constexpr std::size_t degree = 60;  // every two nodes share some 2 neighbors, 40 seeds share most
constexpr std::uint32_t seed_count = 40;
constexpr int batches = 200;

using Neighbors = std::vector<std::vector<std::uint32_t>>;  // by node, distinct, ascending

Neighbors random_graph() {
  std::mt19937_64 random(7);
  std::vector<std::uint32_t> all(node_count);
  std::iota(all.begin(), all.end(), 0U);
  Neighbors neighbors(node_count);
  for (auto& mine : neighbors) std::ranges::sample(all, std::back_inserter(mine), degree, random);
  return neighbors;
}

struct Mean {
  double mean;
  double error;  // standard error of it
};

Mean mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

Mean ratio_of(const Mean& above, const Mean& below) {
  const double ratio = above.mean / below.mean;
  return {ratio, ratio * std::hypot(above.error / above.mean, below.error / below.mean)};
}

enum class Scheme { uniform, labor, labor_layer_dependency };

// Input rows by the definition: of each neighborhood the `fanout` smallest variates.
Mean brute_force(const Neighbors& neighbors, const std::vector<std::int32_t>& fanouts, Scheme scheme) {
  std::mt19937_64 random(11 + static_cast<unsigned>(scheme));
  std::uniform_real_distribution<double> uniform;
  std::vector<double> rows;
  for (int batch = 0; batch < batches; ++batch) {
    std::set<std::uint32_t> nodes;
    for (std::uint32_t seed = 0; seed < seed_count; ++seed) nodes.insert(seed);
    std::vector<double> variate(node_count);
    for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
      if (hop == 0 || scheme == Scheme::labor)
        std::ranges::generate(variate, [&] { return uniform(random); });
      const std::set<std::uint32_t> destinations = nodes;
      for (const std::uint32_t destination : destinations) {
        auto order = neighbors[destination];
        if (scheme == Scheme::uniform) {
          for (const std::uint32_t source : order) variate[source] = uniform(random);
        }
        std::ranges::nth_element(order, order.begin() + fanouts[hop], {},
                                 [&](std::uint32_t source) { return variate[source]; });
        nodes.insert(order.begin(), order.begin() + fanouts[hop]);
      }
    }
    rows.push_back(static_cast<double>(nodes.size()));
  }
  return mean_of(rows);
}

// The same by the sampler of the program.
Mean sampled(const Neighbors& neighbors, const SamplerOptions& options) {
  std::vector<std::uint64_t> indptr{0};
  std::vector<NodeId> indices;
  for (const auto& mine : neighbors) {
    for (const std::uint32_t source : mine) indices.push_back(NodeId{source});
    indptr.push_back(indices.size());
  }
  std::vector<NodeId> seeds;
  for (std::uint32_t seed = 0; seed < seed_count; ++seed) seeds.push_back(NodeId{seed});
  NeighborSampler sampler(Topology{indptr, indices}, options);
  SampledBatch batch;
  std::vector<double> rows;
  for (std::uint32_t i = 0; i < batches; ++i) {
    // In the middle of a period where batches depend on one another, and periods apart.
    sampler.sample({.batch = 32 * i + 3}, seeds, batch);
    rows.push_back(static_cast<double>(batch.nodes.size()));
  }
  return mean_of(rows);
}

}  // namespace

TEST_CASE("LABOR needs the share of uniform sampling's input rows that brute force needs") {
  const Neighbors neighbors = random_graph();
  struct Case {
    std::string name;
    std::vector<std::int32_t> fanouts;
    Scheme scheme;
    LaborOptions labor;
  };
  const std::array<Case, 5> cases{{
      {"one hop", {10}, Scheme::labor, {}},
      {"two hops", {5, 5}, Scheme::labor, {}},
      {"two hops, layer dependency", {5, 5}, Scheme::labor_layer_dependency, {.layer_dependency = true}},
      {"two hops, batch dependency", {5, 5}, Scheme::labor, {.batch_dependency = 8}},
      {"two hops, both", {5, 5}, Scheme::labor_layer_dependency, {true, 8}},
  }};
  for (const Case& one : cases) {
    CAPTURE(one.name);
    const Mean uniform = sampled(neighbors, {.fanouts = one.fanouts, .seed = 1});
    const Mean labor = sampled(
        neighbors, {.fanouts = one.fanouts, .seed = 1, .kind = SamplerKind::labor, .labor = one.labor});
    const Mean expected_uniform = brute_force(neighbors, one.fanouts, Scheme::uniform);
    const Mean expected_labor = brute_force(neighbors, one.fanouts, one.scheme);
    const Mean share = ratio_of(labor, uniform);
    const Mean expected = ratio_of(expected_labor, expected_uniform);
    const double interval = 4.5 * std::hypot(share.error, expected.error);
    CAPTURE(share.mean);
    CAPTURE(expected.mean);
    CAPTURE(interval);
    CHECK(std::abs(share.mean - expected.mean) < interval);
    CHECK(interval < 0.03 * expected.mean);    // as tight as the goal of bench/labor.py
    CHECK(expected.mean + 10 * interval < 1);  // so that LABOR without its saving would fail
    CHECK(std::abs(uniform.mean - expected_uniform.mean) <
          4.5 * std::hypot(uniform.error, expected_uniform.error));
  }
}
