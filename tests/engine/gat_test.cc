// GAT on blocks: the full graph where a batch holds all of it, and what its softmax does at the edges of
// that.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/compute/attention.h"
#include "engine/compute/reference.h"
#include "engine/nn/model.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"
#include "tests/engine/random_batch.h"
#include "tests/engine/reference_forward.h"
#include "tests/engine/test_backend.h"

using namespace gneiss;
using gneiss::test::make_backend;
using gneiss::test::RandomBatch;
using reference::Matrix;

namespace {

constexpr std::uint32_t node_count = 50;
constexpr std::uint32_t feature_columns = 9;

// has_edge[d][s]; some nodes have a loop of their own, some have no neighbor.
std::vector<std::vector<bool>> random_graph() {
  RandomStream draws(mix_key(8));
  std::vector<std::vector<bool>> has_edge(node_count, std::vector<bool>(node_count));
  for (std::uint32_t d = 0; d < node_count; ++d) {
    for (std::uint32_t s = 0; s < node_count; ++s) {
      has_edge[d][s] = d == s ? d % 5 == 0 : draws.below(node_count) < 8 * (d % 3);
    }
  }
  return has_edge;
}

// The paper's formula over a dense adjacency with loops.
Matrix dense_gat(const Model& model, const std::vector<std::vector<bool>>& has_edge, Matrix h) {
  const auto parameters = gneiss::test::read_named_parameters(model);
  const ModelOptions& options = model.options();
  const std::size_t heads = options.head_count;
  for (std::uint32_t i = 0; i < options.layer_count; ++i) {
    const auto parameter = [&](const char* name) {
      return parameters.at(fmt::format("convs.{}.{}", i, name));
    };
    const Matrix z = reference::linear(h, parameter("lin.weight"));
    const Matrix att_src = parameter("att_src");
    const Matrix att_dst = parameter("att_dst");
    const std::size_t columns = z.columns / heads;
    const bool is_last = i + 1 == options.layer_count;
    Matrix out(node_count, is_last ? columns : z.columns);
    for (std::size_t head = 0; head < heads; ++head) {
      for (std::uint32_t d = 0; d < node_count; ++d) {
        std::vector<double> shares(node_count);
        double sum = 0;
        for (std::uint32_t s = 0; s < node_count; ++s) {
          if (!has_edge[d][s] && s != d) continue;
          double score = 0;
          for (std::size_t c = head * columns; c < (head + 1) * columns; ++c) {
            score += z(s, c) * att_src(0, c) + z(d, c) * att_dst(0, c);
          }
          shares[s] = std::exp(std::max(score, 0.2 * score));
          sum += shares[s];
        }
        for (std::uint32_t s = 0; s < node_count; ++s) {
          for (std::size_t c = 0; c < columns; ++c) {
            const double term = shares[s] / sum * z(s, head * columns + c);
            out(d, is_last ? c : head * columns + c) += is_last ? term / static_cast<double>(heads) : term;
          }
        }
      }
    }
    reference::add_bias(out, parameter("bias").values);
    if (!is_last) reference::activate(out, Activation::relu, {});
    h = out;
  }
  return h;
}

}  // namespace

TEST_CASE("gat over a batch of all nodes with all neighbors is full-graph gat") {
  const auto has_edge = random_graph();
  std::vector<std::uint32_t> indptr{0};
  std::vector<std::uint32_t> indices;
  for (std::uint32_t d = 0; d < node_count; ++d) {
    for (std::uint32_t s = 0; s < node_count; ++s) {
      if (has_edge[d][s]) indices.push_back(s);
    }
    indptr.push_back(static_cast<std::uint32_t>(indices.size()));
  }
  // Input rows in reverse, as tiers would reorder them.
  Matrix features(node_count, feature_columns);
  std::vector<float> rows(features.values.size());
  std::vector<std::uint32_t> place(node_count);
  RandomStream draws(mix_key(9));
  for (std::uint32_t node = 0; node < node_count; ++node) {
    place[node] = node_count - 1 - node;
    for (std::uint32_t c = 0; c < feature_columns; ++c) {
      const auto value = static_cast<float>(draws.normal());
      rows[std::size_t{place[node]} * feature_columns + c] = value;
      features(node, c) = static_cast<double>(value);
    }
  }
  std::vector<std::uint32_t> first_indices;
  for (const std::uint32_t source : indices) first_indices.push_back(place[source]);
  const BlockView whole{
      .dst_count = node_count, .src_count = node_count, .indptr = indptr, .indices = indices};
  std::vector<BlockView> blocks(3, whole);
  blocks[0].indices = first_indices;
  blocks[0].dst_in_src = place;
  BatchView batch{.blocks = blocks};
  batch.input = TieredRows::of(ConstMatrixView(rows.data(), node_count, feature_columns));
  const std::vector<BlockMaxima> maxima(3, {node_count, node_count, whole.edge_count()});

  ThreadPool pool(2);
  const auto backend = make_backend(pool);
  const auto model = make_model("gat", *backend,
                                {.feature_columns = feature_columns,
                                 .hidden_columns = 12,
                                 .class_count = 5,
                                 .layer_count = 3,
                                 .head_count = 3,
                                 .seed = 3},
                                maxima);
  const Matrix logits = reference::widen(model->forward(batch, {}));
  const Matrix expected = dense_gat(*model, has_edge, features);
  REQUIRE(logits.values.size() == expected.values.size());
  for (std::size_t i = 0; i < logits.values.size(); ++i) {
    CHECK(logits.values[i] == doctest::Approx(expected.values[i]).epsilon(1e-5).scale(1));
  }
}

TEST_CASE(
    "shares of a destination sum to one, its own edges in the block have none, and dropout keeps their "
    "mean") {
  const RandomBatch batch({.seed = 4, .node_count = 40, .seed_count = 35, .fanouts = {30}});
  const BlockView& block = batch.view().blocks[0];
  constexpr std::size_t heads = 3;
  RandomStream draws(mix_key(3));
  std::vector<float> score_values(block.src_count * 2 * heads);
  // Far apart: a softmax that does not subtract the largest overflows.
  for (float& value : score_values) value = static_cast<float>(300 * draws.normal());
  const ConstMatrixView scores(score_values.data(), block.src_count, 2 * heads);
  const std::size_t rows = block.edge_count() + block.dst_count;
  std::vector<float> share_values(rows * heads, NAN);
  std::vector<float> weight_values(rows * heads, NAN);
  const auto edge_values = [&](std::vector<float>& values) {
    const MatrixView all(values.data(), rows, heads);
    return EdgeValues{all.row_range(0, block.edge_count()),
                      all.row_range(block.edge_count(), block.dst_count)};
  };
  const EdgeValues shares = edge_values(share_values);
  const EdgeValues weights = edge_values(weight_values);
  ThreadPool pool(2);
  const auto backend = make_backend(pool);
  std::size_t own_edges = 0;
  double weight_sum = 0;
  const int trials = 400;
  for (int trial = 0; trial < trials; ++trial) {
    AttentionRule rule;
    rule.dropout = {0.4F, mix_key(1, trial), batch.view().hidden_nodes};
    backend->attention().softmax(block, scores, rule, shares, weights);
    for (std::uint32_t d = 0; d < block.dst_count; ++d) {
      for (std::size_t h = 0; h < heads; ++h) weight_sum += static_cast<double>(weights.loops(d, h));
      for (std::uint32_t e = block.indptr[d]; e < block.indptr[d + 1]; ++e) {
        for (std::size_t h = 0; h < heads; ++h) weight_sum += static_cast<double>(weights.edges(e, h));
      }
    }
  }
  for (std::uint32_t d = 0; d < block.dst_count; ++d) {
    for (std::size_t h = 0; h < heads; ++h) {
      float sum = shares.loops(d, h);
      for (std::uint32_t e = block.indptr[d]; e < block.indptr[d + 1]; ++e) {
        const bool is_own = block.indices[e] == block.dst_in_src[d];
        if (is_own) CHECK(shares.edges(e, h) == 0.0F);
        own_edges += is_own ? 1 : 0;
        sum += shares.edges(e, h);
      }
      CHECK(static_cast<double>(sum) == doctest::Approx(1).epsilon(1e-5));
    }
  }
  CHECK(own_edges > 0);  // the batch is of the kind that this is about
  CHECK(weight_sum / (trials * block.dst_count * heads) == doctest::Approx(1).epsilon(0.02));
}
