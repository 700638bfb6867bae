#include "storage/pack/input_lists.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

InputLists::InputLists(const std::filesystem::path& folder) : file_(File::create_anonymous(folder)) {}

void InputLists::append(std::span<const NodeId> ascending_nodes) {
  file_.write_at(offsets_.back() * sizeof(NodeId), std::as_bytes(ascending_nodes));
  offsets_.push_back(offsets_.back() + ascending_nodes.size());
}

std::vector<NodeId> InputLists::take_up(std::uint64_t node_count) {
  const std::uint64_t first = offsets_.back() * sizeof(NodeId);
  const std::uint64_t file_bytes = file_.size();
  if (first > file_bytes || node_count > (file_bytes - first) / sizeof(NodeId)) {
    fail(Kind::corruption, "{} is cut short", file_.path());
  }
  std::vector<NodeId> nodes(node_count);
  file_.read_at(first, std::as_writable_bytes(std::span(nodes)));
  offsets_.push_back(offsets_.back() + node_count);
  return nodes;
}

std::size_t InputLists::read(std::size_t batch, std::uint64_t first, std::span<NodeId> target) const {
  GNEISS_ASSERT(batch < batch_count() && first <= node_count(batch));
  const std::size_t count = std::min<std::uint64_t>(target.size(), node_count(batch) - first);
  file_.read_at((offsets_[batch] + first) * sizeof(NodeId), std::as_writable_bytes(target.first(count)));
  return count;
}

}  // namespace gneiss
