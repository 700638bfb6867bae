// Which seeds make up which mini-batch: the order of the sample pool.
//
// Training seeds are shuffled anew for each epoch of the pool, by (seed, epoch); validation and test seeds
// keep the source's order. The last batch of an epoch may be smaller.
#pragma once

#include <vector>

#include "storage/format/dataset.h"
#include "storage/format/sample_pool.h"

namespace gneiss {

struct PoolOptions {
  std::uint32_t batch_size = 1024;
  std::uint32_t sample_epochs = 1;
  std::uint64_t seed = 0;
  bool evaluation = true;  // batches of the validation and test splits too
};

// Every batch of a pool in file order: epochs of training batches, then validation, then test.
class BatchSchedule {
 public:
  BatchSchedule(const Dataset& dataset, PoolOptions options);

  std::size_t size() const noexcept { return keys_.size(); }
  const BatchKey& key(std::size_t index) const noexcept { return keys_[index]; }
  std::span<const NodeId> seeds(std::size_t index) const noexcept;
  std::uint32_t train_batches_per_epoch() const noexcept { return train_batches_; }

 private:
  void add_batches(Split split, std::uint32_t epoch, std::size_t first, std::size_t count);
  PoolOptions options_;
  std::vector<NodeId> seeds_;  // all epochs one after the other: 4 bytes a seed and epoch
  std::vector<BatchKey> keys_;
  std::vector<std::size_t> offsets_;  // of each batch's seeds; one more than keys_
  std::uint32_t train_batches_ = 0;
};

}  // namespace gneiss
