#include "storage/pack/input_lists.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

InputLists::InputLists(const std::filesystem::path& folder) : file_(File::create_anonymous(folder)) {}

void InputLists::append(std::span<const NodeId> ascending_nodes) {
  file_.write_at(offsets_.back() * sizeof(NodeId), std::as_bytes(ascending_nodes));
  offsets_.push_back(offsets_.back() + ascending_nodes.size());
}

std::size_t InputLists::read(std::size_t batch, std::uint64_t first, std::span<NodeId> target) const {
  GNEISS_ASSERT(batch < batch_count() && first <= node_count(batch));
  const std::size_t count = std::min<std::uint64_t>(target.size(), node_count(batch) - first);
  file_.read_at((offsets_[batch] + first) * sizeof(NodeId), std::as_writable_bytes(target.first(count)));
  return count;
}

}  // namespace gneiss
