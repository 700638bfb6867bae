#include "storage/pack/input_lists.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

std::vector<NodeId> InputLists::take_up(std::uint64_t node_count) {
  if (node_count > lists_.values_behind()) fail(Kind::corruption, "{} is cut short", lists_.path());
  std::vector<NodeId> nodes(node_count);
  lists_.take_up(nodes);
  return nodes;
}

std::size_t InputLists::read(std::size_t batch, std::uint64_t first, std::span<NodeId> target) const {
  GNEISS_ASSERT(batch < batch_count() && first <= node_count(batch));
  const std::size_t count = std::min<std::uint64_t>(target.size(), node_count(batch) - first);
  lists_.read(batch, first, target.first(count));
  return count;
}

}  // namespace gneiss
