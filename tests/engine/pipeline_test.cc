// The pipeline brings the right batches in order, whatever engine, slots and sizes, and ends when asked.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "engine/pipeline/pipelined_source.h"
#include "storage/base/random.h"
#include "tests/engine/prepared_dataset.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

// Every batch of the pool, twice, in an order of its own.
std::vector<std::size_t> shuffled_twice(const Preparation& preparation, std::uint64_t seed) {
  std::vector<std::size_t> order(2 * preparation.pool().entries().size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i / 2;
  RandomStream random(seed);
  for (std::size_t left = order.size(); left > 1; --left)
    std::swap(order[left - 1], order[random.below(left)]);
  return order;
}

bool rows_are_the_sources(const SmallDataset& source, const BatchView& view, std::span<const NodeId> inputs) {
  if (view.input.row_count() != inputs.size() || view.input.columns() != source.info.feature_dim)
    return false;
  for (std::uint32_t local = 0; local < inputs.size(); ++local) {
    const auto row = source.row(inputs[local]);
    if (std::memcmp(view.input.row(local), row.data(), row.size()) != 0) return false;
  }
  return true;
}

bool labels_are_the_sources(const SmallDataset& source, const BatchView& view) {
  const auto seeds = view.hidden_nodes.first(view.seed_count());
  return view.targets.size() == seeds.size() &&
         std::ranges::equal(view.targets, seeds, {}, {},
                            [&](NodeId node) { return source.labels[to_index(node)]; });
}

// What a consumer sees along `order`: nothing wrong, or the first position that is.
std::optional<std::size_t> first_wrong(const PreparedDataset& data, const PipelineOptions& options,
                                       const std::vector<std::size_t>& order) {
  const auto entries = data.preparation().pool().entries();
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), options, plan_of(order));
  for (std::size_t position = 0; position < order.size(); ++position) {
    const SourcedBatch* batch = source.next();
    const BatchEntry& entry = entries[order[position]];
    if (batch == nullptr || batch->position != position || !(batch->view.key == entry.key)) return position;
    const auto inputs = data.preparation().pool().read_input_nodes(entry);
    if (!rows_are_the_sources(data.source(), batch->view, inputs)) return position;
    if (!labels_are_the_sources(data.source(), batch->view)) return position;
    if (batch->cost.cpu_rows + batch->cost.disk_rows != inputs.size()) return position;
  }
  if (source.next() != nullptr) return order.size();
  return std::nullopt;
}

PreparationOptions options_with_cache(std::uint64_t cpu_cache_bytes) {
  PreparationOptions options;
  options.batch_size = 7;
  options.fanouts = {4, 3};
  options.sample_epochs = 2;
  options.cpu_cache_bytes = cpu_cache_bytes;
  return options;
}

}  // namespace

TEST_CASE("every batch comes in the schedule's order with the source's rows, whatever the way") {
  for (const std::uint64_t cache : {std::uint64_t{0}, std::uint64_t{999}, std::uint64_t{1} << 30}) {
    const PreparedDataset data(options_with_cache(cache));
    const auto order = shuffled_twice(data.preparation(), 11);
    CAPTURE(cache);
    CHECK((data.cpu_tier().row_count() == 0) == (cache == 0));
    for (const char* engine : {"io_uring", "pread", "mmap"}) {
      CAPTURE(engine);
      for (const std::uint32_t slots : {1U, 2U, 5U}) {
        for (const std::uint32_t depth : {1U, 64U}) {
          for (const std::uint32_t read_bytes : {4096U, 1U << 20}) {
            CAPTURE(slots);
            CAPTURE(depth);
            CAPTURE(read_bytes);
            const PipelineOptions options{
                .slot_count = slots, .io_engine = engine, .queue_depth = depth, .read_bytes = read_bytes};
            CHECK(first_wrong(data, options, order) == std::nullopt);
          }
        }
      }
      CHECK(first_wrong(data, {.io_engine = engine, .direct = false}, order) == std::nullopt);
    }
  }
}

TEST_CASE("rows of every width and type arrive whole, segments of several checksum blocks too") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::uint32_t dim : {1U, 7U, 100U, 1433U}) {
      CAPTURE(dim);
      CAPTURE(static_cast<int>(dtype));
      PreparationOptions options = options_with_cache(20'000);
      options.batch_size = 30;
      const PreparedDataset data(options, {.dim = dim, .dtype = dtype, .seed = dim});
      CHECK(first_wrong(data, {.slot_count = 3}, shuffled_twice(data.preparation(), dim)) == std::nullopt);
    }
  }
}

TEST_CASE("hops of any number, all neighbors, nodes without neighbors") {
  for (const std::vector<std::int32_t>& fanouts :
       {std::vector<std::int32_t>{1}, {-1}, {-1, 2, -1}, {2, 2, 2, 2, 2}, {1000, 1}}) {
    for (const std::uint64_t edges : {0ULL, 50ULL, 3000ULL}) {
      PreparationOptions options = options_with_cache(500);
      options.fanouts = fanouts;
      CAPTURE(edges);
      CAPTURE(fanouts.size());
      const PreparedDataset data(options, {.edges = edges});
      CHECK(first_wrong(data, {}, shuffled_twice(data.preparation(), edges)) == std::nullopt);
    }
  }
}

TEST_CASE("an empty schedule ends at once, and the end repeats") {
  const PreparedDataset data(options_with_cache(0));
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {}, plan_of({}));
  CHECK(source.next() == nullptr);
  CHECK(source.next() == nullptr);
}

TEST_CASE("a source can be left at any batch, with any number of slots and reads in flight") {
  const PreparedDataset data(options_with_cache(700));
  const auto order = shuffled_twice(data.preparation(), 3);
  constexpr std::uint64_t seed = 20260;
  RandomStream random(seed);
  constexpr std::array engines{"io_uring", "pread", "mmap"};
  for (int round = 0; round < 150; ++round) {
    const PipelineOptions options{.slot_count = static_cast<std::uint32_t>(1 + random.below(8)),
                                  .io_engine = engines[random.below(3)],
                                  .queue_depth = static_cast<std::uint32_t>(1 + random.below(33)),
                                  .read_bytes = 4096U << random.below(9),
                                  .direct = random.below(2) == 0};
    const std::size_t taken = random.below(order.size() + 2);
    CAPTURE(seed);
    CAPTURE(round);
    PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), options,
                           plan_of(order));
    for (std::size_t i = 0; i < taken; ++i) CHECK((source.next() == nullptr) == (i >= order.size()));
  }
}

TEST_CASE("counters say what was read: once each batch, and nothing where all rows are cached") {
  const PreparedDataset data(options_with_cache(1ULL << 30));
  const auto entries = data.preparation().pool().entries();
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {.read_bytes = 4096},
                         plan_of(order));
  std::uint64_t expected = 0;
  std::uint64_t bytes = 0;
  std::uint64_t reads = 0;
  for (const BatchEntry& entry : entries) {
    const SourcedBatch* batch = source.next();
    REQUIRE(batch != nullptr);
    const std::uint64_t segment = data.preparation().pack().entries()[batch->position].bytes;
    CHECK((segment == 0) == (entry.disk_rows == 0));
    expected += round_up(entry.frame_bytes, 4096) + segment;
    bytes += batch->cost.bytes_read;
    reads += batch->cost.read_operations;
  }
  CHECK(source.next() == nullptr);
  CHECK(bytes == expected);
  CHECK(reads == expected / 4096);
  CHECK(source.io_counters().bytes <= expected);
  CHECK(source.io_counters().reads == reads);
}
