// Graph attention: what reads rows of neighbors against a plain gather of them, what reads scores against a
// copy.
#include <algorithm>

#include "bench/micro/ceilings.h"
#include "bench/micro/random_batch.h"
#include "bench/micro/setup.h"
#include "engine/compute/attention.h"

namespace gneiss::micro {
namespace {

constexpr std::size_t heads = 4;

// Of one block: the first, of features behind tiers, or the second, of a hidden layer.
struct Attention {
  explicit Attention(std::uint32_t columns_)
      : columns(columns_),
        batch(1000, 10, columns, Dtype::f32),
        block(batch.view().blocks[0]),
        scores(random_values(block.src_count * 2 * heads)),
        shares((block.edge_count() + block.dst_count) * heads),
        d_edges(random_values(shares.size())),
        d_destination(random_values(block.dst_count * heads)),
        out(random_values(block.dst_count * heads * columns)),
        weight(random_values(2 * heads * columns)),
        scratch(backend().weight_gradient_scratch(block.dst_count, 2 * heads, columns)) {}

  EdgeValues edges(std::vector<float>& values) const {
    const MatrixView all(values.data(), values.size() / heads, heads);
    return {all.row_range(0, block.edge_count()), all.row_range(block.edge_count(), block.dst_count)};
  }
  // The rows that an operator over edges and loops reads.
  std::vector<std::uint32_t> row_ids() const {
    std::vector<std::uint32_t> ids(block.indices.begin(), block.indices.end());
    ids.insert(ids.end(), block.dst_in_src.begin(), block.dst_in_src.end());
    return ids;
  }

  std::uint32_t columns;
  RandomBatch batch;
  const BlockView& block;
  std::vector<float> scores, shares, d_edges, d_destination, out, weight, scratch;
};

enum class Over : std::uint8_t { rows, aggregate, score_gradients };

void over_rows(benchmark::State& state, Over over) {
  Attention a(static_cast<std::uint32_t>(state.range(0)));
  AttentionOperators& attention = backend().attention();
  const TieredRows& rows = a.batch.view().input;
  std::vector<std::uint32_t> ids = a.row_ids();
  if (over == Over::rows) {
    ids.resize(a.block.src_count);
    for (std::uint32_t i = 0; i < a.block.src_count; ++i) ids[i] = i;
  }
  const double ceiling = gather_ceiling(rows, ids);
  const MatrixView out(a.out.data(), a.block.dst_count, heads * a.columns);
  const MatrixView weight(a.weight.data(), 2 * heads, a.columns);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    switch (over) {
      case Over::rows:
        attention.row_products(rows, weight, {a.scores.data(), a.block.src_count, 2 * heads});
        break;
      case Over::aggregate:
        attention.aggregate(rows, a.block, a.edges(a.d_edges), out);
        break;
      case Over::score_gradients:
        attention.score_gradients(rows, a.block, {a.scores.data(), a.block.src_count, 2 * heads}, {},
                                  a.edges(a.shares), 0, out, a.edges(a.d_edges),
                                  {a.d_destination.data(), a.block.dst_count, heads}, weight, a.scratch);
        break;
    }
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, static_cast<double>(ids.size() * rows.row_bytes()), best, ceiling);
}
BENCHMARK_CAPTURE(over_rows, attention_row_products, Over::rows)->Arg(128);
BENCHMARK_CAPTURE(over_rows, attention_aggregate, Over::aggregate)->Arg(128);
BENCHMARK_CAPTURE(over_rows, attention_score_gradients, Over::score_gradients)->Arg(128);

void softmax(benchmark::State& state) {
  Attention a(1);
  AttentionOperators& attention = backend().attention();
  const MatrixView scores(a.scores.data(), a.block.src_count, 2 * heads);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    attention.softmax(a.block, scores, {}, a.edges(a.shares), a.edges(a.shares));
    best = std::min(best, watch.seconds());
  }
  // A score and a share for each edge and head.
  report_bytes(state, 2.0 * static_cast<double>(a.shares.size() * sizeof(float)), best, copy_ceiling());
}
BENCHMARK(softmax)->Name("attention_softmax");

void input_gradient(benchmark::State& state) {
  const auto columns = static_cast<std::size_t>(state.range(0));
  const RandomBatch batch(10000, 10, 1, Dtype::f32);
  const BlockView& block = batch.view().blocks[1];
  std::vector<float> values = random_values((block.edge_count() + block.dst_count) * heads);
  const MatrixView all(values.data(), values.size() / heads, heads);
  const EdgeValues edges{all.row_range(0, block.edge_count()),
                         all.row_range(block.edge_count(), block.dst_count)};
  std::vector<float> d_aggregate = random_values(block.dst_count * heads * columns);
  std::vector<float> d_destination = random_values(block.dst_count * heads);
  std::vector<float> weight = random_values(2 * heads * columns);
  std::vector<float> activated = random_values(block.src_count * columns);
  std::vector<float> dz(activated.size());
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    backend().attention().input_gradient(
        block, edges, {d_aggregate.data(), block.dst_count, heads * columns}, edges,
        {d_destination.data(), block.dst_count, heads}, {weight.data(), 2 * heads, columns},
        {activated.data(), block.src_count, columns}, {.activation = Activation::relu},
        {dz.data(), block.src_count, columns});
    best = std::min(best, watch.seconds());
  }
  const std::size_t rows = (block.edge_count() + block.dst_count) * heads + 2 * block.src_count;
  report_bytes(state, static_cast<double>(rows * columns * sizeof(float)), best, copy_ceiling());
}
BENCHMARK(input_gradient)->Name("attention_input_gradient")->Arg(256);

}  // namespace
}  // namespace gneiss::micro
