#include "storage/pack/shared_layout.h"

#include <algorithm>
#include <bit>
#include <numbers>

#include "storage/base/aligned_buffer.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/units.h"
#include "storage/pack/disk_nodes.h"

namespace gneiss {
namespace {

constexpr std::uint64_t slice_nodes = 1U << 20;
constexpr std::size_t read_ahead_nodes = 8U << 10;
constexpr std::uint64_t page = shared_page_bytes;

constexpr std::size_t word_batches = 64;

// A row of a group while rows are sorted: by `key`, and those that are alike stay in their order.
struct KeyedRow {
  std::uint64_t key;
  NodeId node;
  std::uint32_t place;
};

// Sets are bits from the highest down, batch by batch; consecutive ranks differ in one of them.
std::uint64_t gray_rank(std::uint64_t set) {
  for (int shift = 1; shift < 64; shift *= 2) set ^= set >> shift;
  return set;
}
std::uint64_t bit_of(std::size_t batch_in_word) { return std::uint64_t{1} << (63 - batch_in_word); }

// The batches of one group, and which of them read each node.
class GroupSets {
 public:
  GroupSets(const InputLists& lists, const TierPlan& plan, const BatchGroup& group, std::uint64_t node_count)
      : lists_(lists), plan_(plan), group_(group), node_count_(node_count) {}

  // Sets are words of 64 batches each.
  std::size_t word_count() const { return divide_up(group_.batch_count, word_batches); }
  std::size_t batches_of(std::size_t word) const {
    return std::min(word_batches, group_.batch_count - word * word_batches);
  }
  // One word of every node's set, [N].
  void load(std::size_t word, std::vector<std::uint64_t>& sets) const {
    sets.assign(node_count_, 0U);
    std::vector<DiskNodes> walks;
    walks.reserve(batches_of(word));
    for (std::size_t i = 0; i < batches_of(word); ++i) {
      walks.emplace_back(lists_, plan_, group_.first_batch + word * word_batches + i, read_ahead_nodes);
    }
    for (std::uint64_t first = 0; first < node_count_; first += slice_nodes) {  // as the cache holds them
      throw_if_interrupted();
      const std::uint64_t end = std::min(node_count_, first + slice_nodes);
      for (std::size_t i = 0; i < walks.size(); ++i) {
        for (DiskNodes& walk = walks[i]; walk.has_node() && to_index(walk.node()) < end; walk.advance()) {
          sets[to_index(walk.node())] |= bit_of(i);
        }
      }
    }
  }
  // The group's nodes, ascending, and of each node whether an odd number of batches reads it.
  std::vector<KeyedRow> rows(std::uint64_t row_count, std::vector<bool>& is_odd) const {
    is_odd.assign(node_count_, false);
    std::vector<bool> is_read(node_count_);
    for (std::size_t i = 0; i < group_.batch_count; ++i) {
      throw_if_interrupted();
      for (DiskNodes walk(lists_, plan_, group_.first_batch + i, read_ahead_nodes); walk.has_node();
           walk.advance()) {
        is_read[to_index(walk.node())] = true;
        is_odd[to_index(walk.node())] = !is_odd[to_index(walk.node())];
      }
    }
    std::vector<KeyedRow> all;
    all.reserve(row_count);
    for (std::uint64_t node = 0; node < node_count_; ++node) {
      if (is_read[node]) all.push_back({0, static_cast<NodeId>(node), 0});
    }
    return all;
  }

 private:
  const InputLists& lists_;
  const TierPlan& plan_;
  const BatchGroup& group_;
  const std::uint64_t node_count_;
};

// The group's nodes in the order in which their rows stand on disk: along the Gray code of whole sets. Words
// are sorted by from the last to the first, each sort keeping the order of what is alike, so that memory does
// not grow with the sets. Within a word ranks run backwards where an odd number of batches before it is in
// the set: so a Gray code goes on over words.
std::vector<NodeId> order_nodes(const GroupSets& group, std::uint64_t row_count,
                                std::vector<std::uint64_t>& sets) {
  std::vector<bool> is_odd;  // of the batches in this word and those before it
  std::vector<KeyedRow> rows = group.rows(row_count, is_odd);
  GNEISS_ASSERT(rows.size() == row_count);
  for (std::size_t word = group.word_count(); word-- > 0;) {
    group.load(word, sets);
    std::uint32_t place = 0;
    for (KeyedRow& row : rows) {
      const std::uint64_t set = sets[to_index(row.node)];
      const bool is_odd_before = is_odd[to_index(row.node)] != (std::popcount(set) % 2 != 0);
      is_odd[to_index(row.node)] = is_odd_before;
      row.key = is_odd_before ? ~gray_rank(set) : gray_rank(set);
      row.place = place++;
    }
    throw_if_interrupted();
    std::ranges::sort(rows, [](const KeyedRow& a, const KeyedRow& b) {
      return a.key != b.key ? a.key < b.key : a.place < b.place;
    });
  }
  sets = {};  // its memory is the nodes'
  std::vector<NodeId> nodes;
  nodes.reserve(rows.size());
  for (const KeyedRow& row : rows) nodes.push_back(row.node);
  return nodes;
}

// What one batch reads of a region, and where its rows come to lie in the buffer.
class BatchReads {
 public:
  BatchReads(std::uint64_t row_bytes, std::uint64_t gap_bytes, std::uint64_t region_offset,
             std::uint64_t region_bytes)
      : row_bytes_(row_bytes),
        gap_bytes_(gap_bytes),
        unit_(page_row_unit(row_bytes)),
        region_offset_(region_offset),
        region_bytes_(region_bytes) {}

  void clear() {
    extents_.clear();
    runs_.clear();
    nodes_.clear();
    buffer_base_ = 0;
  }
  // Rows come in ascending position.
  void add(std::uint64_t position, NodeId node) {
    const std::uint64_t begin = position * row_bytes_;
    const std::uint64_t first_page = round_down(begin, page);
    const std::uint64_t end = std::min(round_up(begin + row_bytes_, page), region_bytes_);
    if (extents_.empty() || first_page > end_of_last() + gap_bytes_) {
      if (!extents_.empty()) buffer_base_ += extents_.back().bytes;
      extents_.push_back({first_page, end - first_page});
    } else {
      extents_.back().bytes = std::max(extents_.back().bytes, end - extents_.back().offset);
    }
    nodes_.push_back(node);
    const std::uint64_t at = (buffer_base_ + begin - extents_.back().offset) / unit_;
    if (at > 0xFFFFFFFFU) {
      fail(Kind::config,
           "a batch would read more than {} of shared rows; give a smaller --read-gap or --batch-size",
           format_bytes(4294967296.0 * static_cast<double>(unit_)));
    }
    const auto start = static_cast<std::uint32_t>(at);
    if (!runs_.empty() && runs_.back().position + runs_.back().count * (row_bytes_ / unit_) == at) {
      ++runs_.back().count;
    } else {
      runs_.push_back({1, start});
    }
  }
  void hand_over(SharedLayout& layout) {
    for (Extent extent : extents_) {
      extent.offset += region_offset_;
      layout.extents.push_back(extent);
    }
    layout.first_extents.push_back(layout.extents.size());
    layout.batch_nodes.append(nodes_);
    layout.batch_runs.append(runs_);
  }

 private:
  std::uint64_t end_of_last() const { return extents_.back().offset + extents_.back().bytes; }

  const std::uint64_t row_bytes_;
  const std::uint64_t gap_bytes_;
  const std::uint64_t unit_;
  const std::uint64_t region_offset_;
  const std::uint64_t region_bytes_;
  std::vector<Extent> extents_;
  std::vector<PageRun> runs_;
  std::vector<NodeId> nodes_;
  std::uint64_t buffer_base_ = 0;  // of the last extent
};

}  // namespace

std::uint64_t read_gap_for(const DriveProfile& drive) noexcept {
  constexpr std::uint64_t most = 1U << 20;
  std::uint64_t gap = page;
  // The nearest on a scale of powers: beyond the middle between two, the larger.
  while (gap < most && drive.bytes_lost_by_a_read() > static_cast<double>(gap) * std::numbers::sqrt2)
    gap *= 2;
  return gap;
}

std::vector<BatchGroup> group_batches(std::span<const BatchKey> keys, std::size_t train_group_size,
                                      std::size_t evaluation_group_size) {
  GNEISS_ASSERT(train_group_size >= 1 && train_group_size <= group_batches_max);
  GNEISS_ASSERT(evaluation_group_size >= 1 && evaluation_group_size <= group_batches_max);
  std::vector<BatchGroup> groups;
  for (std::size_t begin = 0; begin < keys.size();) {
    const Split split = keys[begin].split;
    std::size_t end = begin;
    while (end < keys.size() && keys[end].split == split) ++end;
    const std::size_t most = split == Split::train ? train_group_size : evaluation_group_size;
    for (; begin < end; begin += most) groups.push_back({begin, std::min(most, end - begin)});
    begin = end;
  }
  return groups;
}

std::vector<std::uint64_t> count_group_growth(const InputLists& lists, const TierPlan& plan,
                                              const BatchGroup& group, std::uint64_t node_count) {
  std::vector<std::uint64_t> counts{0};
  std::vector<bool> seen(node_count);
  for (std::size_t i = 0; i < group.batch_count; ++i) {
    throw_if_interrupted();
    std::uint64_t count = counts.back();
    for (DiskNodes walk(lists, plan, group.first_batch + i, read_ahead_nodes); walk.has_node();
         walk.advance()) {
      if (seen[to_index(walk.node())]) continue;
      seen[to_index(walk.node())] = true;
      ++count;
    }
    counts.push_back(count);
  }
  return counts;
}

std::vector<std::uint64_t> count_group_rows(const InputLists& lists, const TierPlan& plan,
                                            std::span<const BatchGroup> groups, std::uint64_t node_count) {
  std::vector<std::uint64_t> counts;
  for (const BatchGroup& group : groups) {
    counts.push_back(count_group_growth(lists, plan, group, node_count).back());
  }
  return counts;
}

std::uint64_t SharedLayout::extent_bytes(std::size_t batch) const {
  std::uint64_t sum = 0;
  for (const Extent& extent : extents_of(batch)) sum += extent.bytes;
  return sum;
}

std::uint64_t SharedLayout::read_bytes(std::size_t batch) const {
  const std::uint64_t bytes = extent_bytes(batch);
  return bytes + shared_trailer_bytes(bytes);
}

std::uint64_t SharedLayout::bytes() const {
  std::uint64_t sum = region_offsets.back();
  for (std::size_t batch = 0; batch + 1 < first_extents.size(); ++batch) {
    sum += shared_trailer_bytes(extent_bytes(batch));
  }
  return sum;
}

SharedLayout lay_out_shared(const InputLists& lists, const TierPlan& plan, std::vector<BatchGroup> groups,
                            std::uint64_t row_bytes, std::uint64_t node_count, std::uint64_t read_gap_bytes,
                            const std::filesystem::path& scratch_folder) {
  const auto row_counts = count_group_rows(lists, plan, groups, node_count);
  SharedLayout layout{.groups = std::move(groups),
                      .region_offsets = {0},
                      .region_nodes = ScratchLists<NodeId>(scratch_folder),
                      .extents = {},
                      .first_extents = {0},
                      .batch_nodes = ScratchLists<NodeId>(scratch_folder),
                      .batch_runs = ScratchLists<PageRun>(scratch_folder)};
  Progress progress("ordering shared rows", lists.batch_count(), Progress::Unit::items);
  std::vector<std::uint64_t> sets;
  for (std::size_t g = 0; g < layout.groups.size(); ++g) {
    const GroupSets group(lists, plan, layout.groups[g], node_count);
    const std::vector<NodeId> nodes = order_nodes(group, row_counts[g], sets);
    layout.region_nodes.append(nodes);
    const std::uint64_t region_bytes = round_up(nodes.size() * row_bytes, page);
    BatchReads reads(row_bytes, read_gap_bytes, layout.region_offsets.back(), region_bytes);
    std::vector<std::uint64_t> words(nodes.size());  // of the rows' sets, in the rows' order
    for (std::size_t word = 0; word < group.word_count(); ++word) {
      group.load(word, sets);
      for (std::size_t i = 0; i < nodes.size(); ++i) words[i] = sets[to_index(nodes[i])];
      for (std::size_t i = 0; i < group.batches_of(word); ++i) {
        throw_if_interrupted();
        reads.clear();
        for (std::uint64_t position = 0; position < words.size(); ++position) {
          if ((words[position] & bit_of(i)) != 0) reads.add(position, nodes[position]);
        }
        reads.hand_over(layout);
        progress.advance(1);
      }
    }
    layout.region_offsets.push_back(layout.region_offsets.back() + region_bytes);
  }
  return layout;
}

}  // namespace gneiss
