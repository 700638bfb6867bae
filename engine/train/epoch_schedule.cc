#include "engine/train/epoch_schedule.h"

#include <utility>

#include "storage/base/error.h"
#include "storage/base/random.h"

namespace gneiss {

EpochSchedule::EpochSchedule(const Preparation& preparation, ScheduleOptions options) : options_(options) {
  train_.resize(preparation.info().options.sample_epochs);
  const auto entries = preparation.pool().entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const BatchKey& key = entries[i].key;
    if (key.split == Split::valid) valid_.push_back(i);
    if (key.split == Split::test) test_.push_back(i);
    if (key.split != Split::train) continue;
    if (key.epoch >= train_.size()) {
      fail(Kind::corruption, "preparation '{}': a batch belongs to epoch {} of {}; prepare it again",
           preparation.name(), key.epoch, train_.size());
    }
    train_[key.epoch].push_back(i);
  }
  order_ = epoch_order(0);
}

std::vector<std::size_t> EpochSchedule::epoch_order(std::uint32_t epoch) const {
  std::vector<std::size_t> order = train_[epoch % train_.size()];
  if (options_.shuffle) {
    constexpr std::uint64_t order_stream = 0x0DE5;
    RandomStream random(mix_key(options_.seed, order_stream, epoch));
    for (std::size_t left = order.size(); left > 1; --left)
      std::swap(order[left - 1], order[random.below(left)]);
  }
  return order;
}

bool EpochSchedule::validates_after(std::uint32_t epoch) const noexcept {
  if (valid_.empty() || options_.eval_every == 0) return false;
  return (epoch + 1) % options_.eval_every == 0 || epoch + 1 == options_.epochs;
}

std::uint64_t EpochSchedule::start_of(std::uint32_t epoch) const {
  std::uint64_t position = 0;
  for (std::uint32_t before = 0; before < epoch; ++before) {
    position += train_[before % train_.size()].size() + (validates_after(before) ? valid_.size() : 0);
  }
  return position;
}

std::optional<std::size_t> EpochSchedule::at(std::uint64_t position) {
  while (epoch_ < options_.epochs) {
    const std::uint64_t offset = position - epoch_start_;
    if (offset < order_.size()) return order_[offset];
    const std::size_t evaluated = validates_after(epoch_) ? valid_.size() : 0;
    if (offset < order_.size() + evaluated) return valid_[offset - order_.size()];
    epoch_start_ += order_.size() + evaluated;
    ++epoch_;
    order_ = epoch_order(epoch_);
  }
  return std::nullopt;
}

}  // namespace gneiss
