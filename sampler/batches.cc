#include "sampler/batches.h"

#include <algorithm>
#include <array>
#include <utility>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss {
namespace {

constexpr std::uint64_t shuffle_stream = 0x5EED5;  // apart from the sampler's streams

void shuffle(std::span<NodeId> nodes, std::uint64_t key) {
  RandomStream random(key);
  for (std::size_t left = nodes.size(); left > 1; --left)
    std::swap(nodes[left - 1], nodes[random.below(left)]);
}

}  // namespace

BatchSchedule::BatchSchedule(const Dataset& dataset, PoolOptions options) : options_(options) {
  GNEISS_ASSERT(options.batch_size > 0 && options.sample_epochs > 0);
  offsets_.push_back(0);
  const auto train = dataset.split(Split::train);
  if (train.empty()) {
    fail(Kind::input, "{} has no training nodes; import it with a train split", dataset.folder().string());
  }
  std::array<std::vector<NodeId>, 2> evaluated;
  if (options.evaluation) evaluated = {dataset.split(Split::valid), dataset.split(Split::test)};
  // Many epochs of many nodes are most of what sampling holds: a vector that grows would hold them twice.
  seeds_.reserve(options.sample_epochs * train.size() + evaluated[0].size() + evaluated[1].size());
  for (std::uint32_t epoch = 0; epoch < options.sample_epochs; ++epoch) {
    const std::size_t first = seeds_.size();
    seeds_.insert(seeds_.end(), train.begin(), train.end());
    shuffle(std::span(seeds_).subspan(first), mix_key(options.seed, shuffle_stream, epoch));
    add_batches(Split::train, epoch, first, train.size());
  }
  train_batches_ = static_cast<std::uint32_t>(keys_.size() / options.sample_epochs);
  if (!options.evaluation) return;
  for (const Split split : {Split::valid, Split::test}) {
    const auto& nodes = evaluated[split == Split::test ? 1 : 0];
    const std::size_t first = seeds_.size();
    seeds_.insert(seeds_.end(), nodes.begin(), nodes.end());
    add_batches(split, 0, first, nodes.size());
  }
}

void BatchSchedule::add_batches(Split split, std::uint32_t epoch, std::size_t first, std::size_t count) {
  std::uint32_t batch = 0;
  for (std::size_t at = 0; at < count; at += options_.batch_size) {
    keys_.push_back({.split = split, .epoch = epoch, .batch = batch++});
    offsets_.push_back(first + std::min<std::size_t>(at + options_.batch_size, count));
  }
}

std::span<const NodeId> BatchSchedule::seeds(std::size_t index) const noexcept {
  return std::span(seeds_).subspan(offsets_[index], offsets_[index + 1] - offsets_[index]);
}

}  // namespace gneiss
