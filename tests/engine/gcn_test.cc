// GCN on sampled blocks against GCN on the whole graph: where they are equal, and what is taken where not.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/compute/reference.h"
#include "engine/nn/model.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/reference_model.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using gneiss::test::make_backend;
using reference::Matrix;

namespace {

// A graph with self-loops, isolated nodes and hubs: its in-edges, node by node.
struct Graph {
  std::uint32_t node_count = 70;
  std::vector<std::uint32_t> indptr{0};
  std::vector<std::uint32_t> indices;

  Graph() {
    RandomStream draws(mix_key(8));
    for (std::uint32_t node = 0; node < node_count; ++node) {
      for (std::uint32_t source = 0; source < node_count; ++source) {
        const bool is_edge = node == source ? node % 5 == 0 : draws.below(node_count) < 12 * (node % 3);
        if (is_edge) indices.push_back(source);
      }
      indptr.push_back(static_cast<std::uint32_t>(indices.size()));
    }
  }
};

// D^-1/2 (A + I) D^-1/2, dense, where an edge of the graph from a node to itself is the I's.
Matrix normalized_adjacency(const Graph& graph) {
  Matrix adjacency(graph.node_count, graph.node_count);
  for (std::uint32_t node = 0; node < graph.node_count; ++node) {
    for (std::uint32_t e = graph.indptr[node]; e < graph.indptr[node + 1]; ++e) {
      adjacency(node, graph.indices[e]) = 1;
    }
    adjacency(node, node) = 1;
  }
  std::vector<double> degrees(graph.node_count);
  for (std::uint32_t node = 0; node < graph.node_count; ++node) {
    for (std::uint32_t s = 0; s < graph.node_count; ++s) degrees[node] += adjacency(node, s);
  }
  for (std::uint32_t node = 0; node < graph.node_count; ++node) {
    for (std::uint32_t s = 0; s < graph.node_count; ++s) {
      adjacency(node, s) /= std::sqrt(degrees[node] * degrees[s]);
    }
  }
  return adjacency;
}

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix out(a.rows, b.columns);
  for (std::size_t r = 0; r < a.rows; ++r) {
    for (std::size_t k = 0; k < a.columns; ++k) {
      for (std::size_t c = 0; c < b.columns; ++c) out(r, c) += a(r, k) * b(k, c);
    }
  }
  return out;
}

constexpr std::uint32_t feature_columns = 9;

std::vector<float> random_features(const Graph& graph) {
  RandomStream draws(mix_key(9));
  std::vector<float> features(std::size_t{graph.node_count} * feature_columns);
  for (float& value : features) value = static_cast<float>(draws.normal());
  return features;
}

Matrix widen(const std::vector<float>& features) {
  return reference::widen(
      ConstMatrixView(features.data(), features.size() / feature_columns, feature_columns));
}

// The logits of `model` computed densely over the whole graph.
Matrix dense_logits(const Model& model, const Graph& graph, const Matrix& features) {
  const auto parameters = gneiss::test::read_parameters(model);
  const Matrix adjacency = normalized_adjacency(graph);
  Matrix h = features;
  for (std::size_t i = 0; 2 * i < parameters.size(); ++i) {
    h = reference::linear(product(adjacency, h), parameters[2 * i]);
    reference::add_bias(h, parameters[2 * i + 1].values);
    if (2 * i + 2 < parameters.size()) reference::activate(h, Activation::relu, {});
  }
  return h;
}

}  // namespace

TEST_CASE("gcn over a batch of all nodes with all neighbors is full-graph gcn") {
  const Graph graph;
  std::vector<float> features = random_features(graph);
  // Input rows in reverse, as tiers would reorder them.
  std::vector<float> rows(features.size());
  std::vector<std::uint32_t> place(graph.node_count);
  for (std::uint32_t node = 0; node < graph.node_count; ++node) {
    place[node] = graph.node_count - 1 - node;
    std::copy_n(features.data() + std::size_t{node} * feature_columns, feature_columns,
                rows.data() + std::size_t{place[node]} * feature_columns);
  }
  std::vector<std::uint32_t> first_indices;
  for (const std::uint32_t source : graph.indices) first_indices.push_back(place[source]);
  const BlockView whole{.dst_count = graph.node_count,
                        .src_count = graph.node_count,
                        .indptr = graph.indptr,
                        .indices = graph.indices};
  std::vector<BlockView> blocks(3, whole);
  blocks[0].indices = first_indices;
  blocks[0].dst_in_src = place;
  BatchView batch{.blocks = blocks};
  batch.input = TieredRows::of(ConstMatrixView(rows.data(), graph.node_count, feature_columns));
  const auto edges = static_cast<std::uint32_t>(graph.indices.size());
  const std::vector<BlockMaxima> maxima(3, {graph.node_count, graph.node_count, edges});

  ThreadPool pool(2);
  const auto backend = make_backend(pool);
  const auto model = make_model("gcn", *backend,
                                {.feature_columns = feature_columns,
                                 .hidden_columns = 12,
                                 .class_count = 5,
                                 .layer_count = 3,
                                 .seed = 3},
                                maxima);
  const Matrix logits = reference::widen(model->forward(batch, {}));
  const Matrix expected = dense_logits(*model, graph, widen(features));
  REQUIRE(logits.values.size() == expected.values.size());
  for (std::size_t i = 0; i < logits.values.size(); ++i) {
    CHECK(logits.values[i] == doctest::Approx(expected.values[i]).epsilon(1e-5).scale(1));
  }
}

TEST_CASE("gcn gives a source that is no destination of block 0 the degree of the node it sends to") {
  // Two destinations (rows 0 and 1): row 0 has neighbors 1 and 2, row 1 has 0, 2 and 3. Rows 2 and 3 are rim.
  const std::vector<std::uint32_t> indptr{0, 2, 5};
  const std::vector<std::uint32_t> indices{1, 2, 0, 2, 3};
  const std::vector<std::uint32_t> place{0, 1};
  const std::vector<BlockView> blocks{
      {.dst_count = 2, .src_count = 4, .indptr = indptr, .indices = indices, .dst_in_src = place}};
  const std::vector<float> rows{1, 10, 100, 1000};
  BatchView batch{.blocks = blocks};
  batch.input = TieredRows::of(ConstMatrixView(rows.data(), 4, 1));
  ThreadPool pool(1);
  const auto backend = make_backend(pool);
  const auto model = make_model(
      "gcn", *backend, {.feature_columns = 1, .hidden_columns = 1, .class_count = 1, .layer_count = 1},
      std::vector<BlockMaxima>{{2, 4, 5}});
  const std::vector<float> one{1};
  model->parameters().write(*model->parameters().find("convs.0.lin.weight"), one);
  const ConstMatrixView logits = model->forward(batch, {});
  const double between = 1 / std::sqrt(3.0 * 4.0);
  CHECK(static_cast<double>(logits(0, 0)) == doctest::Approx(1 / 3.0 + 10 * between + 100 / 3.0));
  CHECK(static_cast<double>(logits(1, 0)) == doctest::Approx(10 / 4.0 + between + 100 / 4.0 + 1000 / 4.0));
}
