// Walks one of several lists of ascending nodes, as DiskNodes walks those that a batch reads from disk.
#pragma once

#include <algorithm>
#include <vector>

#include "storage/base/ids.h"
#include "storage/pack/scratch_lists.h"

namespace gneiss {

class ListedNodes {
 public:
  // Stands at the first. Memory: 4 bytes a node of the window.
  ListedNodes(const ScratchLists<NodeId>& lists, std::size_t list, std::size_t window_nodes)
      : lists_(lists), list_(list), window_(std::min<std::uint64_t>(window_nodes, lists.size(list))) {
    fill();
  }

  bool has_node() const noexcept { return at_ < count_; }
  NodeId node() const noexcept { return window_[at_]; }  // precondition: has_node()
  std::uint64_t position() const noexcept { return first_ + at_; }
  std::uint64_t list_size() const noexcept { return lists_.size(list_); }
  void seek(std::uint64_t position) {
    first_ = position;
    fill();
  }
  void advance() {
    if (++at_ < count_) return;
    first_ += count_;
    fill();
  }

 private:
  void fill() {
    at_ = 0;
    // To the next multiple of a window: reads go by blocks of the list.
    count_ = window_.empty()
                 ? 0
                 : std::min<std::uint64_t>(window_.size() - first_ % window_.size(), list_size() - first_);
    lists_.read(list_, first_, std::span(window_).first(count_));
  }

  const ScratchLists<NodeId>& lists_;
  std::size_t list_;
  std::vector<NodeId> window_;
  std::uint64_t first_ = 0;  // of the window in the list
  std::size_t count_ = 0;
  std::size_t at_ = 0;
};

}  // namespace gneiss
