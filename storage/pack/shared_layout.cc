#include "storage/pack/shared_layout.h"

#include <algorithm>
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
constexpr std::size_t window_nodes = 8U << 10;
constexpr std::uint64_t page = shared_page_bytes;

// A row of a group: the set of batches that read it, as its place in the Gray code.
struct SharedRow {
  std::uint64_t rank;
  NodeId node;
};

// Sets are bits from the highest down, batch by batch; consecutive ranks differ in one of them.
std::uint64_t gray_rank(std::uint64_t set) {
  for (int shift = 1; shift < 64; shift *= 2) set ^= set >> shift;
  return set;
}
std::uint64_t gray_set(std::uint64_t rank) { return rank ^ (rank >> 1); }
std::uint64_t bit_of(std::size_t batch_in_group) { return std::uint64_t{1} << (63 - batch_in_group); }

std::vector<DiskNodes> open_lists(const InputLists& lists, const TierPlan& plan, const BatchGroup& group) {
  std::vector<DiskNodes> walks;
  walks.reserve(group.batch_count);
  for (std::size_t i = 0; i < group.batch_count; ++i) {
    walks.emplace_back(lists, plan, group.first_batch + i, window_nodes);
  }
  return walks;
}

// The group's rows in the order in which they stand on disk.
std::vector<SharedRow> order_rows(const InputLists& lists, const TierPlan& plan, const BatchGroup& group,
                                  std::uint64_t row_count, std::uint64_t node_count) {
  std::vector<SharedRow> rows;
  rows.reserve(row_count);
  auto walks = open_lists(lists, plan, group);
  std::vector<std::uint64_t> sets(std::min(slice_nodes, node_count));
  for (std::uint64_t first = 0; first < node_count; first += slice_nodes) {
    throw_if_interrupted();
    const std::uint64_t count = std::min(slice_nodes, node_count - first);
    std::fill_n(sets.begin(), count, 0U);
    for (std::size_t i = 0; i < walks.size(); ++i) {
      for (DiskNodes& walk = walks[i]; walk.has_node() && to_index(walk.node()) < first + count;
           walk.advance()) {
        sets[to_index(walk.node()) - first] |= bit_of(i);
      }
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (sets[i] != 0) rows.push_back({gray_rank(sets[i]), static_cast<NodeId>(first + i)});
    }
  }
  std::ranges::sort(rows, [](const SharedRow& a, const SharedRow& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.node < b.node;
  });
  return rows;
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
    // Of nearly one size: a small last group would share little.
    const std::size_t most = split == Split::train ? train_group_size : evaluation_group_size;
    const std::size_t count = divide_up(end - begin, most);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t first = begin + (end - begin) * i / count;
      groups.push_back({first, begin + (end - begin) * (i + 1) / count - first});
    }
    begin = end;
  }
  return groups;
}

std::vector<std::uint64_t> count_group_rows(const InputLists& lists, const TierPlan& plan,
                                            std::span<const BatchGroup> groups, std::uint64_t node_count) {
  std::vector<std::uint64_t> counts;
  std::vector<bool> seen;
  for (const BatchGroup& group : groups) {
    throw_if_interrupted();
    seen.assign(node_count, false);
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < group.batch_count; ++i) {
      for (DiskNodes walk(lists, plan, group.first_batch + i, window_nodes); walk.has_node();
           walk.advance()) {
        if (seen[to_index(walk.node())]) continue;
        seen[to_index(walk.node())] = true;
        ++count;
      }
    }
    counts.push_back(count);
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
  std::vector<NodeId> nodes;
  Progress progress("ordering shared rows", lists.batch_count(), Progress::Unit::items);
  for (std::size_t g = 0; g < layout.groups.size(); ++g) {
    const BatchGroup& group = layout.groups[g];
    const std::vector<SharedRow> rows = order_rows(lists, plan, group, row_counts[g], node_count);
    GNEISS_ASSERT(rows.size() == row_counts[g]);
    nodes.clear();
    for (const SharedRow& row : rows) nodes.push_back(row.node);
    layout.region_nodes.append(nodes);
    const std::uint64_t region_bytes = round_up(rows.size() * row_bytes, page);
    BatchReads reads(row_bytes, read_gap_bytes, layout.region_offsets.back(), region_bytes);
    for (std::size_t i = 0; i < group.batch_count; ++i) {
      throw_if_interrupted();
      reads.clear();
      for (std::uint64_t position = 0; position < rows.size(); ++position) {
        if ((gray_set(rows[position].rank) & bit_of(i)) != 0) reads.add(position, rows[position].node);
      }
      reads.hand_over(layout);
      progress.advance(1);
    }
    layout.region_offsets.push_back(layout.region_offsets.back() + region_bytes);
  }
  return layout;
}

}  // namespace gneiss
