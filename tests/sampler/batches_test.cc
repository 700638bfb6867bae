#include "sampler/batches.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/expect_error.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

std::vector<NodeId> seeds_of(const BatchSchedule& schedule, Split split, std::uint32_t epoch) {
  std::vector<NodeId> seeds;
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < schedule.size(); ++i) {
    if (schedule.key(i).split != split || schedule.key(i).epoch != epoch) continue;
    CHECK(schedule.key(i).batch == next++);
    CHECK(schedule.key(i).worker == 0);
    seeds.insert(seeds.end(), schedule.seeds(i).begin(), schedule.seeds(i).end());
  }
  return seeds;
}

}  // namespace

TEST_CASE("each epoch is a permutation of the train split, and epochs differ") {
  const test::TemporaryFolder folder;
  const auto data = test::write_small_dataset(folder / "d", {.train = 57, .valid = 11, .test = 5});
  const Dataset dataset = Dataset::open(folder / "d");
  const BatchSchedule schedule(dataset, {.batch_size = 10, .sample_epochs = 3, .seed = 4});
  CHECK(schedule.size() == 3 * 6 + 2 + 1);
  CHECK(schedule.train_batches_per_epoch() == 6);
  std::vector<std::vector<NodeId>> epochs;
  for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
    epochs.push_back(seeds_of(schedule, Split::train, epoch));
    CHECK(std::ranges::is_permutation(epochs.back(), data.splits.train));
    CHECK(epochs.back() != data.splits.train);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  CHECK(seeds_of(schedule, Split::valid, 0) == data.splits.valid);
  CHECK(seeds_of(schedule, Split::test, 0) == data.splits.test);
  CHECK(schedule.seeds(5).size() == 7);  // the last batch of an epoch is smaller

  const BatchSchedule same(dataset, {.batch_size = 57, .sample_epochs = 3, .seed = 4});
  CHECK(seeds_of(same, Split::train, 1) == epochs[1]);  // the order does not depend on the batch size
  const BatchSchedule other(dataset, {.batch_size = 10, .sample_epochs = 3, .seed = 5});
  CHECK(seeds_of(other, Split::train, 0) != epochs[0]);
}

TEST_CASE("without evaluation there are training batches only, and an empty split has none") {
  const test::TemporaryFolder folder;
  const auto data = test::write_small_dataset(folder / "d", {.train = 30, .valid = 0, .test = 7});
  const Dataset dataset = Dataset::open(folder / "d");
  CHECK(BatchSchedule(dataset, {.batch_size = 10, .evaluation = false}).size() == 3);
  CHECK(BatchSchedule(dataset, {.batch_size = 10}).size() == 4);
}

TEST_CASE("a batch larger than the split holds all of it") {
  const test::TemporaryFolder folder;
  const auto data = test::write_small_dataset(folder / "d", {.train = 30, .valid = 3, .test = 3});
  const BatchSchedule schedule(Dataset::open(folder / "d"), {.batch_size = 0xFFFFFFFFU, .sample_epochs = 2});
  CHECK(schedule.size() == 4);
  CHECK(schedule.train_batches_per_epoch() == 1);
  CHECK(std::ranges::is_permutation(schedule.seeds(1), data.splits.train));
}

TEST_CASE("a dataset without training nodes is refused") {
  const test::TemporaryFolder folder;
  test::write_small_dataset(folder / "d", {.train = 0});
  EXPECT_ERROR(BatchSchedule(Dataset::open(folder / "d"), {}), Kind::input, "no training nodes");
}

}  // namespace gneiss
