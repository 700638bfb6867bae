// With `belady` residency rows come and go, and every batch still sees the source's rows.
#include <doctest/doctest.h>

#include <cstring>

#include "engine/pipeline/pipelined_source.h"
#include "tests/engine/prepared_dataset.h"
#include "tests/support/expect_error.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

PreparationOptions belady_options(std::uint64_t cpu_cache_bytes) {
  PreparationOptions options;
  options.batch_size = 7;
  options.fanouts = {4, 3};
  options.sample_epochs = 3;
  options.cpu_cache_bytes = cpu_cache_bytes;
  options.residency = Residency::belady;
  return options;
}

// As training does: the pool's epochs in order, validation after each, round after round.
std::vector<std::size_t> training_order(const Preparation& preparation, int rounds) {
  const auto entries = preparation.pool().entries();
  std::vector<std::size_t> order;
  for (int round = 0; round < rounds; ++round) {
    for (std::uint32_t epoch = 0; epoch < preparation.info().options.sample_epochs; ++epoch) {
      for (std::size_t i = 0; i < entries.size(); ++i) {
        const BatchKey& key = entries[i].key;
        if (key.split == Split::train && key.epoch == epoch) order.push_back(i);
      }
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].key.split != Split::train) order.push_back(i);
      }
    }
  }
  return order;
}

bool rows_are_the_sources(const PreparedDataset& data, const SourcedBatch& batch, std::size_t index) {
  const auto inputs = data.preparation().pool().read_input_nodes(data.preparation().pool().entries()[index]);
  if (batch.view.input.row_count() != inputs.size()) return false;
  for (std::uint32_t local = 0; local < inputs.size(); ++local) {
    const auto row = data.source().row(inputs[local]);
    if (std::memcmp(batch.view.input.row(local), row.data(), row.size()) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("rows come and go from batch to batch, and each batch sees the source's, evaluation too") {
  ThreadPool pool(3);
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    // A handful of rows, some, nearly all, and more than there are.
    for (const std::uint64_t cache :
         {std::uint64_t{99}, std::uint64_t{1500}, std::uint64_t{5000}, std::uint64_t{1} << 30}) {
      const PreparedDataset data(belady_options(cache), {.dim = 9, .dtype = dtype});
      CAPTURE(cache);
      const auto order = training_order(data.preparation(), 3);
      for (const std::uint32_t slots : {1U, 2U, 5U}) {
        CAPTURE(slots);
        data.cpu_tier().rewind();
        PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(),
                               {.slot_count = slots, .pool = slots == 2 ? &pool : nullptr}, plan_of(order));
        std::uint64_t cached = 0;
        std::uint64_t evaluated_from_cache = 0;
        bool right = true;
        for (const std::size_t index : order) {
          const SourcedBatch* batch = source.next();
          REQUIRE(batch != nullptr);
          right = right && rows_are_the_sources(data, *batch, index);
          const bool is_train = batch->view.key.split == Split::train;
          (is_train ? cached : evaluated_from_cache) += batch->cost.cpu_rows;
        }
        CHECK(right);
        CHECK(cached > 0);
        if (cache >= 5000) CHECK(evaluated_from_cache > 0);
        CHECK(source.next() == nullptr);
      }
      data.preparation().verify(nullptr);
    }
  }
}

TEST_CASE("batches that share rows on disk see the source's, with rows that come and go or stay") {
  for (const std::uint32_t dim : {1024U, 333U}) {
    for (const Residency residency : {Residency::fixed, Residency::belady}) {
      PreparationOptions options = belady_options(dim * 4 * 30);
      options.residency = residency;
      options.batch_size = 20;
      const std::uint64_t own = PreparedDataset(options, {.nodes = 400, .dim = dim}).preparation().bytes();
      const PreparedDataset data(options, {.nodes = 400, .dim = dim}, own * 3 / 4);
      CHECK(data.preparation().bytes() < own * 3 / 4);
      REQUIRE(data.preparation().pack().is_shared());
      const auto order = training_order(data.preparation(), 2);
      for (const std::uint32_t read_bytes : {4096U, 1U << 20}) {
        for (const std::uint32_t depth : {1U, 3U, 64U}) {
          data.cpu_tier().rewind();
          PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(),
                                 {.slot_count = 3, .queue_depth = depth, .read_bytes = read_bytes},
                                 plan_of(order));
          bool right = true;
          std::uint64_t read = 0;
          for (const std::size_t index : order) {
            const SourcedBatch* batch = source.next();
            REQUIRE(batch != nullptr);
            right = right && rows_are_the_sources(data, *batch, index);
            read += batch->cost.disk_rows;
          }
          CHECK(right);
          CHECK(read > 0);
        }
      }
      data.preparation().verify(nullptr);
    }
  }
}

TEST_CASE("a batch out of the plan's order is refused, for its rows would be others") {
  const PreparedDataset data(belady_options(1500));
  const auto in_order = training_order(data.preparation(), 1);
  const std::vector<std::size_t> order{in_order[0], in_order[2], in_order[1]};
  PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {}, plan_of(order));
  CHECK(source.next() != nullptr);
  for (int i = 0; i < 2; ++i) {
    EXPECT_ERROR(source.next(), Kind::config, "come in the pool's order");
  }
}

TEST_CASE("a tier that is rewound begins anew, wherever it was left") {
  const PreparedDataset data(belady_options(1500));
  const auto order = training_order(data.preparation(), 1);
  for (const std::size_t stop_after : {std::size_t{1}, std::size_t{5}, order.size()}) {
    {
      PipelinedSource source(data.preparation(), data.dataset().info(), data.cpu_tier(), {}, plan_of(order));
      for (std::size_t i = 0; i < stop_after; ++i) REQUIRE(source.next() != nullptr);
    }
    data.cpu_tier().rewind();
    PipelinedSource again(data.preparation(), data.dataset().info(), data.cpu_tier(), {}, plan_of(order));
    bool right = true;
    for (const std::size_t index : order) right = right && rows_are_the_sources(data, *again.next(), index);
    CHECK(right);
    data.cpu_tier().rewind();
  }
}
