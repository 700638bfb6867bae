// How many consecutive batches share their rows, for a budget.
//
// Why:     a row of a group is read along with what stands beside it: the larger the group, the more of
//          what is read is not needed, and from some thirty batches on that grows fast. So the largest group
//          is made as small as the budget allows.
// How:     groups of n batches, and one of what is left over, take the less space the larger n is. By how the
//          first n batches' rows grow with n a size is foretold, and then made exact by counting.
// Time:    a pass over all input lists, and one for each of the few sizes that are counted.
// Memory:  a bit a node.
#pragma once

#include <map>

#include "storage/pack/shared_layout.h"

namespace gneiss {

class GroupChoice {
 public:
  // Borrows all of them.
  GroupChoice(const InputLists& lists, const TierPlan& plan, std::span<const BatchKey> keys,
              std::uint64_t row_bytes, std::uint64_t node_count);

  std::size_t largest() const noexcept { return largest_; }
  // The smallest size of training's groups with which all regions take at most so many bytes, evaluation's
  // batches in the largest groups; largest() where none does.
  std::size_t smallest_within(std::uint64_t region_bytes);
  std::uint64_t region_bytes(std::size_t group_size);  // exactly

 private:
  double foretold_bytes(std::size_t group_size) const;

  const InputLists& lists_;
  const TierPlan& plan_;
  std::span<const BatchKey> keys_;
  const std::uint64_t row_bytes_;
  const std::uint64_t node_count_;
  std::size_t train_batches_ = 0;
  std::size_t largest_ = 1;
  std::vector<std::uint64_t> growth_;  // rows of the first 0 to largest_ training batches
  std::uint64_t evaluation_bytes_ = 0;
  std::map<std::size_t, std::uint64_t> counted_;
};

}  // namespace gneiss
