#include "storage/pack/belady_planner.h"

#include <algorithm>
#include <numeric>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"

namespace gneiss {
namespace {

// When each row that a batch uses is used next, batches counted on from the pool's first round: for batch b
// a number from b + 1 to b + batch_count.
class NextUses {
 public:
  NextUses(const InputLists& lists, std::uint32_t batch_count, std::uint64_t node_count,
           const std::filesystem::path& folder, Progress& progress)
      : lists_(lists), uses_(folder) {
    std::vector<std::uint32_t> next_use(node_count);  // of each node, seen from the batch that is looked at
    std::vector<NodeId> nodes;
    std::vector<std::uint32_t> uses;
    // Backwards twice: the first time finds each row's first use, which follows the last one in a cycle.
    for (std::uint32_t batch = batch_count; batch-- > 0;) {
      read_nodes(batch, nodes);
      for (const NodeId node : nodes) next_use[to_index(node)] = batch_count + batch;
      progress.advance(1);
    }
    for (std::uint32_t batch = batch_count; batch-- > 0;) {
      throw_if_interrupted();
      read_nodes(batch, nodes);
      uses.resize(nodes.size());
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        uses[i] = std::exchange(next_use[to_index(nodes[i])], batch);
      }
      uses_.append(uses);
      progress.advance(1);
    }
  }

  void read_nodes(std::uint32_t batch, std::vector<NodeId>& nodes) const {
    nodes.resize(lists_.node_count(batch));
    lists_.read(batch, 0, nodes);
  }
  void read_uses(std::uint32_t batch, std::vector<std::uint32_t>& uses) const {
    uses.resize(lists_.node_count(batch));
    uses_.read(uses_.list_count() - 1 - batch, 0, uses);
  }

 private:
  const InputLists& lists_;
  ScratchLists<std::uint32_t> uses_;  // of the last batch first
};

// The tier as the batches go by. Slots are listed by the batch that uses their row next.
class MinCache {
 public:
  MinCache(std::uint64_t node_count, std::uint32_t slot_count, std::uint32_t batch_count)
      : batch_count_(batch_count),
        slot_of_(node_count, no_slot),
        node_in_(slot_count),
        next_in_list_(slot_count),
        first_in_list_(2 * std::size_t{batch_count}, no_slot),
        list_size_(2 * std::size_t{batch_count}),
        arrivals_(2 * std::size_t{batch_count}) {
    empty_.resize(slot_count);
    std::iota(empty_.rbegin(), empty_.rend(), 0U);  // the lowest slot is taken first
  }

  // A round from what the tier holds now, which the next round begins with: slots by ascending node.
  void begin_closed_round() {
    std::vector<std::pair<NodeId, std::uint32_t>> held;  // with the next use, in the new round's count
    for (std::uint32_t use = batch_count_; use < 2 * batch_count_; ++use) {
      for (std::uint32_t slot = first_in_list_[use]; slot != no_slot; slot = next_in_list_[slot]) {
        held.emplace_back(node_in_[slot], use - batch_count_);
      }
    }
    GNEISS_ASSERT(held.size() == resident_);
    std::ranges::sort(held);
    std::ranges::fill(first_in_list_, no_slot);
    std::ranges::fill(list_size_, 0U);
    resident_ = 0;
    farthest_ = 0;
    is_carried_.assign(slot_of_.size(), false);
    empty_.resize(node_in_.size());
    std::iota(empty_.rbegin(), empty_.rend(), 0U);
    for (const auto& [node, use] : held) {
      slot_of_[to_index(node)] = no_slot;
      is_carried_[to_index(node)] = true;
      insert(node, take_empty(), use);
    }
  }

  // Uses a batch's rows and keeps those whose next use is nearest. Fills placements[i] for nodes[i].
  void use(std::uint32_t batch, std::span<const NodeId> nodes, std::span<const std::uint32_t> next_uses,
           std::span<Placement> placements) {
    // The rows held for this batch are its hits; they leave their list and come back where they are wanted.
    resident_ -= list_size_[batch];
    list_size_[batch] = 0;
    first_in_list_[batch] = no_slot;
    std::uint64_t arriving = 0;
    std::uint64_t held_to_the_end = carried_;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Next next = next_of(nodes[i], next_uses[i]);
      if (next.held_to_the_end) ++held_to_the_end;
      if (!next.is_listed) continue;
      ++arrivals_[next.use];
      ++arriving;
      farthest_ = std::max(farthest_, next.use);
    }
    GNEISS_ASSERT(held_to_the_end <= node_in_.size());
    make_room(resident_ + arriving, node_in_.size() - held_to_the_end);

    for (std::size_t i = 0; i < nodes.size();
         ++i) {  // hits first: they keep their slots, and give back others
      const std::uint32_t slot = slot_of_[to_index(nodes[i])];
      placements[i] = slot == no_slot ? Placement::on_disk() : Placement::in_slot(slot);
      if (slot == no_slot) continue;
      const Next next = next_of(nodes[i], next_uses[i]);
      if (next.held_to_the_end) {
        ++carried_;
      } else if (is_kept(next)) {
        list(slot, next.use);
      } else {
        slot_of_[to_index(nodes[i])] = no_slot;
        empty_.push_back(slot);
      }
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (placements[i].is_cached()) continue;
      const Next next = next_of(nodes[i], next_uses[i]);
      if (!next.held_to_the_end && !is_kept(next)) continue;
      const std::uint32_t slot = take_empty();
      placements[i] = Placement::admitted_to(slot);
      if (next.held_to_the_end) {
        node_in_[slot] = nodes[i];
        slot_of_[to_index(nodes[i])] = slot;
        ++carried_;
      } else {
        insert(nodes[i], slot, next.use);
      }
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Next next = next_of(nodes[i], next_uses[i]);
      if (next.is_listed) arrivals_[next.use] = 0;
    }
  }

  std::uint32_t slot_of(NodeId node) const { return slot_of_[to_index(node)]; }

 private:
  struct Next {
    std::uint32_t use = 0;
    bool is_listed = false;        // competes for a slot by its next use
    bool held_to_the_end = false;  // the next round begins with it
  };
  // In the closed round no row but those it began with may be held over its end, and those must be.
  Next next_of(NodeId node, std::uint32_t next_use) const {
    if (next_use < batch_count_ || is_carried_.empty()) return {next_use, true, false};
    return {next_use, false, is_carried_[to_index(node)]};
  }

  // Evicts the rows used farthest in the future until `wanted` rows would fit into `room` slots, those that
  // arrive counted; sets the limit that says which of these stay.
  void make_room(std::uint64_t wanted, std::uint64_t room) {
    limit_ = 2 * batch_count_;
    left_at_limit_ = 0;
    while (wanted > room) {
      const std::uint64_t here = std::uint64_t{list_size_[farthest_]} + arrivals_[farthest_];
      limit_ = farthest_;
      if (wanted - here < room) {  // some of these stay: those in the tier first
        const std::uint64_t stay = room - (wanted - here);
        evict(farthest_, stay);
        left_at_limit_ = stay - list_size_[farthest_];
        return;
      }
      wanted -= here;
      evict(farthest_, 0);
      left_at_limit_ = 0;
      if (wanted > room) --farthest_;
    }
  }
  bool is_kept(const Next& next) {
    if (!next.is_listed || next.use > limit_) return false;
    if (next.use < limit_) return true;
    if (left_at_limit_ == 0) return false;
    --left_at_limit_;
    return true;
  }

  void evict(std::uint32_t use, std::uint64_t keep) {
    while (list_size_[use] > keep) {
      const std::uint32_t slot = first_in_list_[use];
      first_in_list_[use] = next_in_list_[slot];
      --list_size_[use];
      --resident_;
      slot_of_[to_index(node_in_[slot])] = no_slot;
      empty_.push_back(slot);
    }
  }
  std::uint32_t take_empty() {
    const std::uint32_t slot = empty_.back();
    empty_.pop_back();
    return slot;
  }
  void list(std::uint32_t slot, std::uint32_t use) {
    next_in_list_[slot] = std::exchange(first_in_list_[use], slot);
    ++list_size_[use];
    ++resident_;
    farthest_ = std::max(farthest_, use);
  }
  void insert(NodeId node, std::uint32_t slot, std::uint32_t use) {
    node_in_[slot] = node;
    slot_of_[to_index(node)] = slot;
    list(slot, use);
  }

  const std::uint32_t batch_count_;
  std::vector<std::uint32_t> slot_of_;        // of each node
  std::vector<NodeId> node_in_;               // of each slot
  std::vector<std::uint32_t> next_in_list_;   // of each slot
  std::vector<std::uint32_t> first_in_list_;  // of each use
  std::vector<std::uint32_t> list_size_;      // of each use
  std::vector<std::uint32_t> arrivals_;       // of each use, among the rows of the batch now
  std::vector<std::uint32_t> empty_;          // slots
  std::vector<bool> is_carried_;              // nodes that the closed round begins and ends with
  std::uint64_t resident_ = 0;                // in lists
  std::uint64_t carried_ = 0;                 // held to the end, in no list
  std::uint32_t farthest_ = 0;                // no list beyond has rows
  std::uint32_t limit_ = 0;                   // uses below stay, uses beyond do not
  std::uint64_t left_at_limit_ = 0;           // how many arriving rows with a use at the limit stay
};

// The moves that bring each row back to the slot where the round began, as a permutation of all slots.
std::vector<std::uint32_t> find_moves(const MinCache& cache, std::span<const NodeId> first_nodes,
                                      std::uint32_t slot_count) {
  std::vector<std::uint32_t> moves(slot_count, no_slot);
  for (std::uint32_t slot = 0; slot < first_nodes.size(); ++slot) {
    const std::uint32_t last = cache.slot_of(first_nodes[slot]);
    GNEISS_ASSERT(last != no_slot && moves[last] == no_slot);
    moves[last] = slot;
  }
  auto spare = static_cast<std::uint32_t>(first_nodes.size());
  for (std::uint32_t& move : moves) {
    if (move == no_slot) move = spare++;
  }
  return moves;
}

}  // namespace

TierPlan plan_belady_tiers(const BeladyTask& task) {
  GNEISS_ASSERT(task.slot_count <= tier_slots_max && task.epochs > 0);
  const std::uint32_t batch_count = task.epochs * task.batches_per_epoch;
  TierPlan plan;
  plan.slot_count = task.slot_count;
  plan.gpu_nodes = task.gpu_nodes;
  plan.placement_of.assign(task.node_count, Placement::on_disk());
  for (std::uint32_t slot = 0; slot < plan.gpu_nodes.size(); ++slot) {
    plan.placement_of[to_index(plan.gpu_nodes[slot])] = Placement::on_gpu(slot);
  }
  plan.placements.emplace(task.scratch_folder);
  Progress progress("planning", 4 * std::uint64_t{batch_count}, Progress::Unit::items);
  const NextUses uses(*task.lists, batch_count, task.node_count, task.scratch_folder, progress);

  MinCache cache(task.node_count, task.slot_count, batch_count);
  std::vector<NodeId> nodes;
  std::vector<std::uint32_t> next_uses;
  std::vector<Placement> placements;         // of a batch's input nodes
  std::vector<Placement> others_placements;  // of those not in the gpu tier
  const auto step = [&](std::uint32_t batch) {
    throw_if_interrupted();
    uses.read_nodes(batch, nodes);
    uses.read_uses(batch, next_uses);
    placements.resize(nodes.size());
    std::size_t others = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      placements[i] = plan.placement_of[to_index(nodes[i])];
      if (placements[i].is_on_gpu()) continue;
      nodes[others] = nodes[i];
      next_uses[others++] = next_uses[i];
    }
    others_placements.resize(others);
    cache.use(batch, std::span(nodes).first(others), std::span(next_uses).first(others), others_placements);
    auto next = others_placements.begin();
    for (Placement& placement : placements) {
      if (!placement.is_on_gpu()) placement = *next++;
    }
    progress.advance(1);
  };
  for (std::uint32_t batch = 0; batch < batch_count; ++batch) step(batch);
  cache.begin_closed_round();
  for (std::uint64_t node = 0; node < task.node_count; ++node) {
    const std::uint32_t slot = cache.slot_of(static_cast<NodeId>(node));
    if (slot == no_slot) continue;
    plan.placement_of[node] = Placement::in_slot(slot);
    plan.cpu_nodes.push_back(static_cast<NodeId>(node));
  }
  for (std::uint32_t batch = 0; batch < batch_count; ++batch) {
    step(batch);
    plan.placements->append(placements);
    if ((batch + 1) % task.batches_per_epoch != 0 || batch + 1 == batch_count) continue;
    // An epoch ends here: evaluation may rely on rows that are where they were at the beginning.
    for (std::uint32_t slot = 0; slot < plan.cpu_nodes.size(); ++slot) {
      const NodeId node = plan.cpu_nodes[slot];
      if (cache.slot_of(node) != slot) plan.placement_of[to_index(node)] = Placement::on_disk();
    }
  }
  plan.cycle_moves = find_moves(cache, plan.cpu_nodes, task.slot_count);
  return plan;
}

}  // namespace gneiss
