#include "storage/pack/group_choice.h"

#include <algorithm>

#include "storage/base/aligned_buffer.h"

namespace gneiss {

GroupChoice::GroupChoice(const InputLists& lists, const TierPlan& plan, std::span<const BatchKey> keys,
                         std::uint64_t row_bytes, std::uint64_t node_count)
    : lists_(lists), plan_(plan), keys_(keys), row_bytes_(row_bytes), node_count_(node_count) {
  train_batches_ = static_cast<std::size_t>(
      std::ranges::count_if(keys, [](const BatchKey& key) { return key.split == Split::train; }));
  largest_ = std::clamp<std::size_t>(train_batches_, 1, group_batches_max);
  growth_ = count_group_growth(lists, plan, {0, std::min(train_batches_, largest_)}, node_count);
  growth_.resize(largest_ + 1, growth_.back());
  std::vector<BatchGroup> evaluation = group_batches(keys, largest_, group_batches_max);
  std::erase_if(evaluation, [&](const BatchGroup& group) { return group.first_batch < train_batches_; });
  for (const std::uint64_t rows : count_group_rows(lists, plan, evaluation, node_count)) {
    evaluation_bytes_ += round_up(rows * row_bytes, shared_page_bytes);
  }
}

double GroupChoice::foretold_bytes(std::size_t group_size) const {
  const auto rows = [&](std::size_t batches) { return static_cast<double>(growth_[batches]); };
  const std::size_t whole = train_batches_ / group_size;
  return (static_cast<double>(whole) * rows(group_size) + rows(train_batches_ % group_size)) *
             static_cast<double>(row_bytes_) +
         static_cast<double>(evaluation_bytes_);
}

std::uint64_t GroupChoice::region_bytes(std::size_t group_size) {
  const auto known = counted_.find(group_size);
  if (known != counted_.end()) return known->second;
  std::vector<BatchGroup> training = group_batches(keys_, group_size, group_batches_max);
  std::erase_if(training, [&](const BatchGroup& group) { return group.first_batch >= train_batches_; });
  std::uint64_t bytes = evaluation_bytes_;
  for (const std::uint64_t rows : count_group_rows(lists_, plan_, training, node_count_)) {
    bytes += round_up(rows * row_bytes_, shared_page_bytes);
  }
  return counted_[group_size] = bytes;
}

std::size_t GroupChoice::smallest_within(std::uint64_t region_bytes_at_most) {
  const auto fits = [&](std::size_t size) { return region_bytes(size) <= region_bytes_at_most; };
  std::size_t too_small = 0;
  std::size_t enough = largest_;
  std::size_t guess = 1;
  while (guess < largest_ && foretold_bytes(guess) > static_cast<double>(region_bytes_at_most)) ++guess;
  guess = std::min(guess, largest_ - 1);
  // From the guess away in growing steps, until the answer lies in between.
  for (std::size_t step = 1; guess > too_small && guess < enough; step *= 2) {
    if (fits(guess)) {
      enough = guess;
      guess = enough > step ? enough - step : 0;
    } else {
      too_small = guess;
      guess = too_small + step;
    }
  }
  while (enough - too_small > 1) {
    const std::size_t middle = too_small + (enough - too_small) / 2;
    (fits(middle) ? enough : too_small) = middle;
  }
  return enough;
}

}  // namespace gneiss
