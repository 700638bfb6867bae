#include "sampler/neighbor_sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "storage/base/random.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

std::vector<NodeId> nodes(std::initializer_list<std::uint32_t> ids) {
  std::vector<NodeId> list;
  for (const std::uint32_t id : ids) list.push_back(static_cast<NodeId>(id));
  return list;
}

// A graph in memory, from (source, destination) pairs in any order.
struct Graph {
  std::vector<std::uint64_t> indptr;
  std::vector<NodeId> indices;

  Graph(std::uint32_t node_count, std::vector<std::pair<std::uint32_t, std::uint32_t>> edges)
      : indptr(node_count + 1) {
    std::ranges::sort(edges, {}, [](const auto& edge) { return std::pair(edge.second, edge.first); });
    for (const auto& [source, destination] : edges) {
      ++indptr[destination + 1];
      indices.push_back(static_cast<NodeId>(source));
    }
    for (std::size_t i = 0; i < node_count; ++i) indptr[i + 1] += indptr[i];
  }
  Topology view() const { return {indptr, indices}; }
};

Graph random_graph(std::uint32_t node_count, std::uint32_t edge_count, std::uint64_t seed) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
  RandomStream random(seed);
  for (std::uint32_t i = 0; i < edge_count; ++i) {
    // Small ids become hubs of hundreds of neighbors, so that every branch of the sampler runs.
    edges.emplace_back(random.below(node_count),
                       static_cast<std::uint32_t>(random.uniform() * random.uniform() * node_count));
  }
  return {node_count, std::move(edges)};
}

SampledBatch sample(const Graph& graph, SamplerOptions options, const std::vector<NodeId>& seeds,
                    const BatchKey& key = {}) {
  NeighborSampler sampler(graph.view(), std::move(options));
  SampledBatch batch;
  sampler.sample(key, seeds, batch);
  return batch;
}

bool same_batch(const SampledBatch& a, const SampledBatch& b) {
  return a.nodes == b.nodes && std::ranges::equal(a.blocks, b.blocks, [](const auto& x, const auto& y) {
           return x.indptr == y.indptr && x.indices == y.indices && x.edge_positions == y.edge_positions;
         });
}

// Everything a sampled batch promises, whatever the draw.
void check_batch(const Graph& graph, const SamplerOptions& options, const std::vector<NodeId>& seeds,
                 const SampledBatch& batch) {
  REQUIRE(batch.blocks.size() == options.fanouts.size());
  CHECK(std::ranges::equal(std::span(batch.nodes).first(seeds.size()), seeds));
  CHECK(batch.blocks.back().dst_count == seeds.size());
  CHECK(batch.blocks.front().src_count == batch.nodes.size());
  CHECK(std::set(batch.nodes.begin(), batch.nodes.end()).size() == batch.nodes.size());
  for (std::size_t hop = 0; hop < options.fanouts.size(); ++hop) {
    const SampledBlock& block = batch.blocks[options.fanouts.size() - 1 - hop];
    const std::int32_t fanout = options.fanouts[hop];
    if (hop > 0) CHECK(block.dst_count == batch.blocks[options.fanouts.size() - hop].src_count);
    REQUIRE(block.indptr.size() == block.dst_count + 1);
    REQUIRE(block.edge_positions.size() == (options.edge_positions ? block.indices.size() : 0));
    std::uint32_t appeared = block.dst_count;  // first-appearance order: a new source is the next local id
    for (std::uint32_t dst = 0; dst < block.dst_count; ++dst) {
      const NodeId node = batch.nodes[dst];
      const auto neighbors = graph.view().neighbors(node);
      const std::size_t count = block.indptr[dst + 1] - block.indptr[dst];
      const bool all = fanout == -1 || (!options.replace && neighbors.size() <= std::size_t(fanout));
      const std::size_t expected = neighbors.empty() ? 0 : all ? neighbors.size() : std::size_t(fanout);
      CHECK(count == expected);
      std::vector<NodeId> drawn;
      std::set<std::uint64_t> positions;
      bool well_placed = true;
      for (std::uint32_t edge = block.indptr[dst]; edge < block.indptr[dst + 1]; ++edge) {
        if (block.indices[edge] >= block.src_count) FAIL("a source out of range");
        well_placed = well_placed && block.indices[edge] <= appeared;
        appeared = std::max(appeared, block.indices[edge] + 1);
        drawn.push_back(batch.nodes[block.indices[edge]]);
        if (!options.edge_positions) continue;
        const std::uint64_t position = block.edge_positions[edge];
        well_placed = well_placed && position >= graph.indptr[to_index(node)] &&
                      position < graph.indptr[to_index(node) + 1] && graph.indices[position] == drawn.back();
        positions.insert(position);
      }
      CHECK(well_placed);
      if (options.edge_positions && !options.replace) CHECK(positions.size() == count);
      // Each is an edge of the graph; without replacement a repeated edge counts as often as it is there.
      std::ranges::sort(drawn);
      if (options.replace) drawn.erase(std::unique(drawn.begin(), drawn.end()), drawn.end());
      CHECK(std::ranges::includes(neighbors, drawn));
    }
    CHECK(appeared == block.src_count);
  }
}

}  // namespace

TEST_CASE("every sampled edge is an edge of the graph, no more than the fanout, destinations first") {
  const Graph graph = random_graph(400, 12'000, 7);
  std::vector<NodeId> seeds;
  for (std::uint32_t id = 0; id < 400; id += 3) seeds.push_back(static_cast<NodeId>(id));
  const std::vector<std::vector<std::int32_t>> cases{{1},       {10, 10}, {48},    {49},
                                                     {3, 2, 4}, {-1},     {60, 5}, {100, -1}};
  for (const auto& fanouts : cases) {
    for (const bool replace : {false, true}) {
      for (const bool edge_positions : {false, true}) {
        const SamplerOptions options{
            .fanouts = fanouts, .replace = replace, .edge_positions = edge_positions, .seed = 5};
        CAPTURE(fanouts);
        CAPTURE(replace);
        check_batch(graph, options, seeds, sample(graph, options, seeds));
      }
    }
  }
}

TEST_CASE("the graphs at the edge of what is a graph are sampled too") {
  const SamplerOptions options{.fanouts = {4, 4}, .edge_positions = true, .seed = 3};
  SUBCASE("isolated nodes") {
    const Graph graph(5, {});
    const auto batch = sample(graph, options, nodes({4, 0}));
    check_batch(graph, options, nodes({4, 0}), batch);
    CHECK(batch.nodes == nodes({4, 0}));
  }
  SUBCASE("one node") {
    const Graph graph(1, {});
    check_batch(graph, options, nodes({0}), sample(graph, options, nodes({0})));
  }
  SUBCASE("one node with self-loops") {
    const Graph graph(1, {{0, 0}, {0, 0}, {0, 0}});
    const auto batch = sample(graph, options, nodes({0}));
    check_batch(graph, options, nodes({0}), batch);
    CHECK(batch.blocks[1].indices == std::vector<std::uint32_t>{0, 0, 0});
    CHECK(batch.nodes.size() == 1);
  }
  SUBCASE("repeated edges are neighbors of their own") {
    const Graph graph(3, {{1, 0}, {1, 0}, {1, 0}, {2, 0}});
    for (std::uint32_t i = 0; i < 20; ++i) {
      const SamplerOptions two{.fanouts = {2}, .edge_positions = true, .seed = i};
      check_batch(graph, two, nodes({0}), sample(graph, two, nodes({0})));
    }
  }
  SUBCASE("no seeds") {
    const Graph graph(3, {{1, 0}});
    const auto batch = sample(graph, options, {});
    CHECK(batch.nodes.empty());
    CHECK(batch.blocks[0].indptr == std::vector<std::uint32_t>{0});
  }
  SUBCASE("a hub of 100,000 neighbors, by both algorithms") {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
    for (std::uint32_t i = 1; i <= 100'000; ++i) edges.emplace_back(i, 0);
    const Graph graph(100'001, std::move(edges));
    for (const std::int32_t fanout : {1, 48, 49, 5000, 99'999, 100'000, 100'001, -1}) {
      const SamplerOptions hub{.fanouts = {fanout}, .edge_positions = true, .seed = 1};
      check_batch(graph, hub, nodes({0}), sample(graph, hub, nodes({0})));
    }
  }
}

TEST_CASE("a batch is a function of its key and seed alone") {
  const Graph graph = random_graph(300, 6000, 2);
  const auto seeds = nodes({1, 2, 3, 5, 8, 13, 21});
  const SamplerOptions options{.fanouts = {5, 5}, .edge_positions = true, .seed = 9};
  const BatchKey key{.split = Split::train, .epoch = 1, .worker = 0, .batch = 4};
  const SampledBatch batch = sample(graph, options, seeds, key);

  NeighborSampler used(graph.view(), options);  // what it did before leaves no trace
  SampledBatch again;
  used.sample({.batch = 77}, nodes({9, 10, 11}), again);
  used.sample(key, seeds, again);
  CHECK(same_batch(batch, again));

  const auto differs = [&](const BatchKey& other) {
    return !same_batch(batch, sample(graph, options, seeds, other));
  };
  CHECK(differs({.split = Split::valid, .epoch = 1, .batch = 4}));
  CHECK(differs({.epoch = 0, .batch = 4}));
  CHECK(differs({.epoch = 1, .worker = 1, .batch = 4}));
  CHECK(differs({.epoch = 1, .batch = 5}));
  SamplerOptions reseeded = options;
  reseeded.seed = 10;
  CHECK_FALSE(same_batch(batch, sample(graph, reseeded, seeds, key)));
}

TEST_CASE("each hop draws anew for the same node") {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
  for (std::uint32_t i = 1; i <= 40; ++i) edges.emplace_back(i, 0);
  const Graph graph(41, std::move(edges));
  const auto batch = sample(graph, {.fanouts = {5, 5}, .edge_positions = true}, nodes({0}));
  const auto drawn = [](const SampledBlock& block) {
    return std::set(block.edge_positions.begin(), block.edge_positions.begin() + 5);
  };
  CHECK(drawn(batch.blocks[0]) != drawn(batch.blocks[1]));
}

TEST_CASE("a node's draw does not depend on which other seeds are in the batch") {
  const Graph graph = random_graph(300, 6000, 4);
  const SamplerOptions options{.fanouts = {6}, .edge_positions = true};
  const auto alone = sample(graph, options, nodes({7}));
  const auto together = sample(graph, options, nodes({3, 7, 9}));
  const SampledBlock& block = together.blocks[0];
  const std::vector positions(block.edge_positions.begin() + block.indptr[1],
                              block.edge_positions.begin() + block.indptr[2]);
  CHECK(positions == alone.blocks[0].edge_positions);
}

TEST_CASE("local ids are found again after the table has grown") {
  LocalIdTable table;
  for (int round = 0; round < 2; ++round) {
    table.clear(1);
    for (std::uint32_t i = 0; i < 10'000; ++i)
      CHECK(table.find_or_insert(static_cast<NodeId>(i * 2654435761U), i) == i);
    for (std::uint32_t i = 0; i < 10'000; ++i)
      CHECK(table.find_or_insert(static_cast<NodeId>(i * 2654435761U), 1'000'000) == i);
  }
  CHECK(table.find_or_insert(static_cast<NodeId>(0xFFFFFFFFU), 3) == 3);
  CHECK(table.find_or_insert(static_cast<NodeId>(0xFFFFFFFFU), 4) == 3);
}

}  // namespace gneiss
