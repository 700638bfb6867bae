#include "storage/pack/region_filler.h"

#include <algorithm>
#include <cstring>

#include "storage/base/cancel.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::uint64_t chunk_bytes = 1U << 20;
constexpr std::size_t found_nodes = 64U << 10;

std::vector<NodePlace> find_wanted(const RegionTask& task, std::uint64_t unit) {
  const SharedLayout& layout = *task.layout;
  std::vector<NodePlace> wanted;
  std::uint64_t count = 0;
  for (std::size_t group = 0; group < layout.groups.size(); ++group) count += layout.region_nodes.size(group);
  wanted.reserve(count);
  std::vector<NodeId> nodes(std::min<std::uint64_t>(count, found_nodes));
  for (std::size_t group = 0; group < layout.groups.size(); ++group) {
    const std::uint64_t rows = layout.region_nodes.size(group);
    for (std::uint64_t at = 0; at < rows; at += nodes.size()) {
      const auto window = std::span(nodes).first(std::min<std::uint64_t>(nodes.size(), rows - at));
      layout.region_nodes.read(group, at, window);
      std::uint64_t offset = layout.region_offsets[group] + at * task.row_bytes;
      for (const NodeId node : window) {
        wanted.push_back({node, static_cast<std::uint32_t>(offset / unit)});
        offset += task.row_bytes;
      }
    }
  }
  sort_by_node(wanted, task.node_count());
  return wanted;
}

}  // namespace

RegionFiller::RegionFiller(const RegionTask& task)
    : task_(task),
      unit_(page_row_unit(task.row_bytes)),
      buffer_(AlignedBuffer::uninitialized(task.region_bytes())),
      wanted_(find_wanted(task, unit_)) {
  zero_padding();
}

void RegionFiller::zero_padding() {
  const SharedLayout& layout = *task_.layout;
  for (std::size_t group = 0; group < layout.groups.size(); ++group) {
    const std::uint64_t end =
        layout.region_offsets[group] + layout.region_nodes.size(group) * task_.row_bytes;
    std::memset(buffer_.data() + end, 0, layout.region_offsets[group + 1] - end);
  }
}

std::size_t RegionFiller::first_of(std::uint64_t node) const {
  const auto found = std::partition_point(wanted_.begin() + static_cast<std::ptrdiff_t>(next_), wanted_.end(),
                                          [&](const NodePlace& each) { return to_index(each.node) < node; });
  return static_cast<std::size_t>(found - wanted_.begin());
}

void RegionFiller::take_rows(std::uint64_t first_node, std::span<const std::byte> rows) {
  const std::uint64_t row_bytes = task_.row_bytes;
  const std::size_t end = first_of(first_node + rows.size() / row_bytes);
  constexpr std::size_t rows_at_once = 512;
  task_.pool->parallel_for(divide_up(end - next_, rows_at_once), [&](std::size_t piece, std::size_t) {
    const std::size_t begin = next_ + piece * rows_at_once;
    for (std::size_t i = begin; i < std::min(end, begin + rows_at_once); ++i) {
      std::memcpy(buffer_.data() + wanted_[i].place * unit_,
                  rows.data() + (to_index(wanted_[i].node) - first_node) * row_bytes, row_bytes);
    }
  });
  next_ = end;
}

void RegionFiller::checksum_until(std::size_t end) {
  for (; summed_ < end; ++summed_) passed_.update(row(wanted_[summed_]));
}

void RegionFiller::save(std::uint64_t node, std::vector<std::uint64_t>& numbers) {
  GNEISS_ASSERT(first_of(node) == next_);
  write_all(/*takes_checksums=*/false);
  task_.writer->finish();
  checksum_until(next_);
  numbers.push_back(passed_.value());
}

void RegionFiller::go_on(CheckpointReader& saved, std::uint64_t node) {
  const std::uint64_t expected = saved.take();
  for (std::uint64_t at = 0; at < buffer_.size(); at += chunk_bytes) {
    throw_if_interrupted();
    const auto block = buffer_.bytes().subspan(at, std::min<std::uint64_t>(chunk_bytes, buffer_.size() - at));
    task_.file->read_at(task_.first_region + at, block);
  }
  zero_padding();
  next_ = first_of(node);
  checksum_until(next_);
  // What was written after that was recorded, rows of later nodes, is written over by theirs.
  if (passed_.value() != expected) fail(Kind::corruption, "{} is not what was written", task_.file->path());
}

void RegionFiller::write_all(bool takes_checksums) {
  const auto all = std::span<const std::byte>(buffer_.bytes());
  task_.pool->parallel_for(divide_up(all.size(), chunk_bytes), [&](std::size_t i, std::size_t) {
    throw_if_interrupted();
    const std::uint64_t at = i * chunk_bytes;
    const auto block = all.subspan(at, std::min<std::uint64_t>(chunk_bytes, all.size() - at));
    if (takes_checksums) task_.checksums->take(at, block);
    task_.writer->write_in_place(task_.first_region + at, block);
  });
}

void RegionFiller::write() {
  GNEISS_ASSERT(next_ == wanted_.size());
  write_all(/*takes_checksums=*/true);
  task_.writer->finish();
}

}  // namespace gneiss
