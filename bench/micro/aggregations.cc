// Sums over neighbors and the largest of them against a plain gather of the same rows; their ways back, whose
// rows are a hidden layer's, against a gather of those.
#include <algorithm>
#include <numeric>

#include "bench/micro/ceilings.h"
#include "bench/micro/random_batch.h"
#include "bench/micro/setup.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/random.h"

namespace gneiss::micro {
namespace {

// weighted: as GCN does, its factors' making included
enum class Sum : std::uint8_t { mean, weighted, largest };

void aggregate(benchmark::State& state, Dtype dtype, Sum sum) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  const RandomBatch batch(1000, 10, columns, dtype);
  const TieredRows& rows = batch.view().input;
  const BlockView& block = batch.view().blocks[0];
  std::vector<std::uint32_t> row_ids(block.indices.begin(), block.indices.end());
  if (sum == Sum::weighted) row_ids.insert(row_ids.end(), block.dst_in_src.begin(), block.dst_in_src.end());
  const double ceiling = gather_ceiling(rows, row_ids);
  std::vector<float> out(std::size_t{block.dst_count} * columns);
  const MatrixView target(out.data(), block.dst_count, columns);
  std::vector<float> destination(block.dst_count);
  std::vector<float> source(block.src_count);
  std::vector<float> self(block.dst_count);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (sum == Sum::mean) backend().aggregate_mean(rows, block, target);
    if (sum == Sum::largest) backend().aggregate_max(rows, block, target, {});
    if (sum == Sum::weighted) {
      backend().symmetric_scales(block, destination, source);
      backend().self_loop_scales(block, source, self);
      backend().aggregate_sum(rows, block, {destination, source, self}, target);
    }
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, static_cast<double>(row_ids.size() * rows.row_bytes()), best, ceiling);
}
BENCHMARK_CAPTURE(aggregate, mean_f32, Dtype::f32, Sum::mean)->Arg(100)->Arg(128)->Arg(602)->Arg(1433);
BENCHMARK_CAPTURE(aggregate, weighted_f32, Dtype::f32, Sum::weighted)->Arg(128)->Arg(602);
BENCHMARK_CAPTURE(aggregate, max_f32, Dtype::f32, Sum::largest)->Arg(128)->Arg(602);
BENCHMARK_CAPTURE(aggregate, mean_f16, Dtype::f16, Sum::mean)->Arg(128)->Arg(768);
BENCHMARK_CAPTURE(aggregate, mean_bf16, Dtype::bf16, Sum::mean)->Arg(128)->Arg(768);

// As exact inference does: blocks of whole neighborhoods over some columns of all rows, in one memory. Each
// time over more edges than the processor's caches keep the rows of.
void aggregate_resident(benchmark::State& state) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  constexpr std::uint32_t nodes = 8'000'000;
  constexpr std::uint32_t destinations = 4096;
  constexpr std::uint32_t degree = 30;
  constexpr std::size_t blocks = 64;
  AlignedBuffer memory(std::size_t{nodes} * columns * sizeof(float));
  std::ranges::fill(memory.bytes(), std::byte{1});
  TieredRows rows(Dtype::f32, columns);
  rows.append(memory.data(), nodes);
  std::vector<std::uint32_t> indptr(destinations + 1);
  for (std::uint32_t i = 0; i <= destinations; ++i) indptr[i] = i * degree;
  std::vector<std::uint32_t> indices(blocks * destinations * degree);
  RandomStream draws(7);
  for (std::uint32_t& index : indices) index = static_cast<std::uint32_t>(draws.below(nodes));
  const double ceiling = gather_ceiling(rows, indices);
  std::vector<float> out(std::size_t{destinations} * columns);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    for (std::size_t block = 0; block < blocks; ++block) {
      const auto edges = std::span(indices).subspan(block * destinations * degree, destinations * degree);
      backend().aggregate_mean(
          rows, {.dst_count = destinations, .src_count = nodes, .indptr = indptr, .indices = edges},
          {out.data(), destinations, columns});
    }
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, static_cast<double>(indices.size() * rows.row_bytes()), best, ceiling);
}
BENCHMARK(aggregate_resident)->Arg(16)->Arg(22)->Arg(32);

void gather(benchmark::State& state) {
  const auto columns = static_cast<std::uint32_t>(state.range(0));
  const RandomBatch batch(10000, 10, columns, Dtype::f32);
  const BlockView& block = batch.view().blocks[0];
  const double ceiling = gather_ceiling(batch.view().input, block.dst_in_src);
  std::vector<float> out(std::size_t{block.dst_count} * columns);
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    backend().gather(batch.view().input, block.dst_in_src, {out.data(), block.dst_count, columns});
    best = std::min(best, watch.seconds());
  }
  report_bytes(state, static_cast<double>(out.size() * sizeof(float)), best, ceiling);
}
BENCHMARK(gather)->Arg(128);

// A hidden layer's block, 10,000 destinations: what is gathered are its destinations' gradients.
struct WayBack {
  explicit WayBack(std::size_t columns)
      : batch(10000, 10, 1, Dtype::f32),
        block(batch.view().blocks[1]),
        d_aggregate(random_values(block.dst_count * columns)),
        d_self(random_values(block.dst_count * columns)),
        activated(random_values(block.src_count * columns)),
        dz(block.src_count * columns),
        winners(block.dst_count * columns) {
    for (std::uint32_t d = 0; d < block.dst_count; ++d) {
      for (std::size_t c = 0; c < columns; ++c) {
        winners[d * columns + c] = block.indices[block.indptr[d] + c % block.degree(d)];
      }
    }
  }
  RandomBatch batch;
  const BlockView& block;
  std::vector<float> d_aggregate, d_self, activated, dz;
  std::vector<std::uint32_t> winners;
};

void way_back(benchmark::State& state, Sum sum) {
  const auto columns = static_cast<std::size_t>(state.range(0));
  WayBack data(columns);
  const BlockView& block = data.block;
  const auto matrix = [&](std::vector<float>& values) {
    return MatrixView(values.data(), values.size() / columns, columns);
  };
  const Epilogue relu{.activation = Activation::relu};
  const EdgeScales scales;
  double best = 1e9;
  for (auto _ : state) {
    const Timer watch;
    if (sum == Sum::mean) {
      backend().aggregate_mean_gradient(block, matrix(data.d_aggregate), matrix(data.d_self),
                                        matrix(data.activated), relu, matrix(data.dz));
    } else if (sum == Sum::weighted) {
      backend().aggregate_sum_gradient(block, scales, matrix(data.d_aggregate), matrix(data.activated), relu,
                                       matrix(data.dz));
    } else {
      backend().aggregate_max_gradient(block, {data.winners.data(), block.dst_count, columns},
                                       matrix(data.d_aggregate), matrix(data.d_self), matrix(data.activated),
                                       relu, matrix(data.dz));
    }
    best = std::min(best, watch.seconds());
  }
  // Read: a row for each edge (with max, its winners too), one for each destination and source; written:
  // sources.
  const std::size_t per_edge = sum == Sum::largest ? 2 : 1;
  const std::size_t rows = block.edge_count() * per_edge + block.dst_count + 2 * block.src_count;
  report_bytes(state, static_cast<double>(rows * columns * sizeof(float)), best, copy_ceiling());
}
BENCHMARK_CAPTURE(way_back, mean, Sum::mean)->Arg(256);
BENCHMARK_CAPTURE(way_back, weighted, Sum::weighted)->Arg(256);
BENCHMARK_CAPTURE(way_back, max, Sum::largest)->Arg(256);

}  // namespace
}  // namespace gneiss::micro
