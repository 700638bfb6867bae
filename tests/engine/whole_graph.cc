#include "tests/engine/whole_graph.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "engine/compute/cpu/cpu_backend.h"
#include "storage/base/parallel.h"
#include "storage/base/random.h"

namespace gneiss::test {
namespace {

SmallDatasetOptions with_features(SmallDatasetOptions options) {
  RandomStream random(mix_key(options.seed, 77));
  while (options.features.size() < std::size_t{options.nodes} * options.dim) {
    options.features.push_back(static_cast<float>(2 * random.uniform() - 1));
  }
  return options;
}

}  // namespace

WholeGraph::WholeGraph(SmallDatasetOptions options, const EdgeList& edges)
    : source_(write_small_dataset(folder_ / "d.gneiss", with_features(std::move(options)), edges)),
      dataset_(std::make_unique<Dataset>(Dataset::open(source_.folder))) {
  for (const std::uint64_t offset : source_.indptr) indptr_.push_back(static_cast<std::uint32_t>(offset));
}

BatchView WholeGraph::batch(std::uint32_t layers) {
  const auto nodes = static_cast<std::uint32_t>(source_.info.node_count);
  const std::span<const std::uint32_t> indices(reinterpret_cast<const std::uint32_t*>(source_.indices.data()),
                                               source_.indices.size());
  blocks_.assign(layers, {.dst_count = nodes, .src_count = nodes, .indptr = indptr_, .indices = indices});
  BatchView view;
  view.blocks = blocks_;
  view.input = TieredRows(source_.info.feature_dtype, source_.info.feature_dim);
  view.input.append(source_.features.data(), nodes);
  return view;
}

std::vector<BlockMaxima> WholeGraph::maxima(std::uint32_t layers) const {
  const auto nodes = static_cast<std::uint32_t>(source_.info.node_count);
  return std::vector<BlockMaxima>(layers, {nodes, nodes, static_cast<std::uint32_t>(source_.indices.size())});
}

EdgeList uneven_edges(std::uint32_t nodes, std::uint64_t count, std::uint64_t seed) {
  EdgeList edges;
  RandomStream random(seed);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto source = static_cast<std::uint32_t>(random.below(nodes));
    const auto destination = static_cast<std::uint32_t>(random.uniform() * random.uniform() * nodes);
    if (destination % 7 != 3) edges.emplace_back(source, destination);
  }
  for (std::uint32_t node = 0; node < nodes; ++node) edges.emplace_back(node, nodes / 2);
  edges.emplace_back(5, 5);
  edges.emplace_back(5, 5);
  edges.emplace_back(9, 5);
  edges.emplace_back(9, 5);
  return edges;
}

ExactOutput run_exactly(const Dataset& dataset, const std::filesystem::path& scratch, ExactRequest request,
                        std::span<const float> parameters, std::size_t threads) {
  ThreadPool pool(threads);
  const auto backend = make_cpu_backend(pool);
  if (request.layers == 0) request.layers = request.options.layer_count;
  if (request.memory_bytes == 0) request.memory_bytes = 64ULL << 20;  // enough, and pieces stay small
  ExactOutput output;
  output.plan = plan_exact_inference(dataset, *backend, request);
  const auto model =
      make_model(request.model, *backend, request.options, output.plan.maxima(request.options.layer_count));
  REQUIRE(parameters.size() == model->parameters().values().size());
  backend->copy_in(parameters, model->parameters().values().data());
  std::uint64_t next = 0;
  output.costs =
      infer_exactly(dataset, *model, output.plan, scratch, [&](std::uint64_t first, ConstMatrixView rows) {
        CHECK(first == next);
        next += rows.rows;
        output.columns = rows.columns;
        for (std::size_t row = 0; row < rows.rows; ++row) {
          output.values.insert(output.values.end(), rows.row(row), rows.row(row) + rows.columns);
        }
      });
  CHECK(next == dataset.info().node_count);
  return output;
}

}  // namespace gneiss::test
