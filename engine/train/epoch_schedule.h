// Which batch comes when: epochs of shuffled training batches, each followed by validation where it is due.
//
// A run's schedule is a function of (seed, epoch) alone, so that the reader may run ahead across epochs.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "storage/format/preparation.h"

namespace gneiss {

struct ScheduleOptions {
  std::uint32_t epochs = 10;
  std::uint32_t eval_every = 1;  // validate after every so many epochs; 0: never
  std::uint64_t seed = 0;
  bool shuffle = true;  // the order of an epoch's batches
};

class EpochSchedule {
 public:
  EpochSchedule(const Preparation& preparation, ScheduleOptions options);

  // Pool indices of one split's batches, in the pool's order; training: of the pool's epoch.
  const std::vector<std::size_t>& train_batches(std::uint32_t pool_epoch) const { return train_[pool_epoch]; }
  const std::vector<std::size_t>& valid_batches() const noexcept { return valid_; }
  const std::vector<std::size_t>& test_batches() const noexcept { return test_; }

  std::vector<std::size_t> epoch_order(std::uint32_t epoch) const;  // training batches, shuffled
  bool validates_after(std::uint32_t epoch) const noexcept;

  // The position in the whole run at which `epoch` begins: batches trained and evaluated before it.
  std::uint64_t start_of(std::uint32_t epoch) const;

  // The pool index at a position of the whole run. Called by the reader, in order.
  std::optional<std::size_t> at(std::uint64_t position);

 private:
  ScheduleOptions options_;
  std::vector<std::vector<std::size_t>> train_;
  std::vector<std::size_t> valid_;
  std::vector<std::size_t> test_;
  std::uint32_t epoch_ = 0;  // the epoch that at() is in
  std::uint64_t epoch_start_ = 0;
  std::vector<std::size_t> order_;
};

}  // namespace gneiss
