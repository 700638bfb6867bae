// Walks the nodes whose rows a batch reads from disk, ascending.
#pragma once

#include <algorithm>
#include <vector>

#include "storage/pack/tier_planner.h"

namespace gneiss {

class DiskNodes {
 public:
  // Stands at the first. Memory: 8 bytes a node of the window.
  DiskNodes(const InputLists& lists, const TierPlan& plan, std::size_t batch, std::size_t window_nodes)
      : lists_(lists),
        plan_(plan),
        batch_(batch),
        window_(std::min<std::uint64_t>(window_nodes, lists.node_count(batch))),
        placements_(window_.size()) {
    advance();
  }

  bool has_node() const noexcept { return has_node_; }
  NodeId node() const noexcept { return node_; }  // precondition: has_node()
  // Where node() stands in the input list, or the list's end.
  std::uint64_t position() const noexcept { return list_at_ - (has_node_ ? count_ - at_ + 1 : 0); }
  std::uint64_t list_size() const noexcept { return lists_.node_count(batch_); }
  // Stands at the first from `position` of the input list on.
  void seek(std::uint64_t position) {
    list_at_ = position;
    at_ = count_ = 0;
    advance();
  }
  void advance() {
    for (;;) {
      if (at_ == count_) {
        // To the next multiple of a window: reads go by blocks of the list.
        const std::size_t passed = window_.empty() ? 0 : list_at_ % window_.size();
        count_ = lists_.read(batch_, list_at_, std::span(window_).first(window_.size() - passed));
        const auto nodes = std::span<const NodeId>(window_).first(count_);
        plan_.place(batch_, list_at_, nodes, std::span(placements_).first(count_));
        list_at_ += count_;
        at_ = 0;
        has_node_ = count_ > 0;
        if (!has_node_) return;
      }
      node_ = window_[at_];
      if (!placements_[at_++].is_cached()) return;
    }
  }

 private:
  const InputLists& lists_;
  const TierPlan& plan_;
  std::size_t batch_;
  std::vector<NodeId> window_;  // part of the input list
  std::vector<Placement> placements_;
  std::size_t count_ = 0;
  std::size_t at_ = 0;
  std::uint64_t list_at_ = 0;
  bool has_node_ = true;
  NodeId node_{};
};

}  // namespace gneiss
