// Training on rows that a strategy gathers takes the very steps of the trainer.
#include <doctest/doctest.h>

#include "bench/ladder/cached_rows.h"
#include "bench/ladder/lru_cache.h"
#include "bench/ladder/mapped_rows.h"
#include "bench/ladder/min_cache.h"
#include "bench/ladder/train_window.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/trainer.h"
#include "tests/engine/learnable_graph.h"

namespace gneiss::ladder {
namespace {

TEST_CASE(
    "every strategy trains to the losses of the trainer, to the bit, with the losses of no other order") {
  const test::LearnableGraph graph;
  TrainOptions expected_options = test::short_run();
  expected_options.schedule.epochs = 2;
  expected_options.schedule.shuffle = false;
  expected_options.schedule.eval_every = 0;
  const RunResult expected = graph.train(expected_options, "none");

  const Preparation preparation = graph.open("tiny");
  const RowFile file = row_file_of(graph.dataset());
  const RowLists lists(preparation.pool(), RowOrder::ascending);
  const Window window{.warm_up = 3, .batches = 2 * lists.batch_count() - 3};
  REQUIRE(expected.step_losses.size() == window.positions());
  const TrainWindowOptions options{.hidden = 16,
                                   .dropout = 0.3F,
                                   .learning_rate = 0.01F,
                                   .seed = expected_options.schedule.seed,
                                   .slot_count = 2};
  ThreadPool pool(2);
  std::vector<std::unique_ptr<RowSource>> sources;
  sources.push_back(std::make_unique<MappedRows>(file, MappedOptions{.threads = 2}));
  const CachedRowsOptions cached{.cache_rows = 100, .batch_rows_max = lists.row_count_max(), .reader = {}};
  sources.push_back(
      std::make_unique<CachedRows>(file, std::make_unique<LruCache>(file.row_count, 100), cached));
  sources.push_back(std::make_unique<CachedRows>(
      file, std::make_unique<MinCache>(lists, window.positions(), file.row_count, 100, graph.folder()),
      cached));
  for (const auto& source : sources) {
    const TrainedWindow trained =
        train_window(graph.dataset(), preparation, lists, *source, window, options, pool);
    CHECK(trained.losses == expected.step_losses);
    CHECK(trained.seconds > 0);
    CHECK(trained.input_rows > 0);
  }
}

TEST_CASE("training ends with the reason when rows cannot be read") {
  const test::LearnableGraph graph;
  const Preparation preparation = graph.open("none");
  RowFile file = row_file_of(graph.dataset());
  file.offset += std::uint64_t{1} << 20;
  const RowLists lists(preparation.pool(), RowOrder::ascending);
  CachedRows source(file, std::make_unique<LruCache>(file.row_count, 10), {.cache_rows = 10, .reader = {}});
  ThreadPool pool(1);
  CHECK_THROWS_AS(
      train_window(graph.dataset(), preparation, lists, source, {.batches = 2}, {.hidden = 8}, pool), Error);
}

}  // namespace
}  // namespace gneiss::ladder
