#include "engine/infer/topology_stream.h"

#include <algorithm>
#include <numeric>

#include "storage/base/error.h"
#include "storage/format/section_stream.h"

namespace gneiss {
namespace {

// The offsets of all nodes but the first one's, which is 0.
SequentialReader open_offsets(const Dataset& dataset, ReadAhead ahead) {
  const SectionFile& graph = dataset.graph();
  SequentialReader reader = stream_section(graph, graph.require(SectionKind::csc_indptr), ahead);
  std::uint64_t first = 0;
  reader.read(std::as_writable_bytes(std::span(&first, 1)));
  if (first != 0) fail(Kind::corruption, "{}: the edge offsets begin at {}, not 0", graph.name(), first);
  return reader;
}

constexpr std::size_t checked_at_once = 8192;  // edges, while they are in the first cache

// A loop without branches, of which the compiler makes vectors: those of any x86-64 have no maximum of such
// numbers, but the signs of differences.
bool are_below(std::span<const std::uint32_t> numbers, std::uint64_t bound) {
  if (bound > std::uint64_t{1} << 31) {
    return std::ranges::all_of(numbers, [&](std::uint32_t number) { return number < bound; });
  }
  const auto last = static_cast<std::uint32_t>(bound - 1);
  std::uint32_t signs = 0;
  for (const std::uint32_t number : numbers) signs |= (last - number) | number;
  return signs >> 31 == 0;
}

[[noreturn]] void fail_offsets(const std::string& name, std::uint64_t edge_count) {
  fail(Kind::corruption, "{}: the edge offsets do not ascend from 0 to {}", name, edge_count);
}

}  // namespace

TopologyBlock::TopologyBlock(BlockLimits limits)
    : indptr_(std::size_t{limits.destinations} + 1), indices_(limits.edges), own_(limits.destinations) {}

std::uint64_t TopologyBlock::memory_bytes(BlockLimits limits) noexcept {
  return 4 * (2 * std::uint64_t{limits.destinations} + 1) + 4 * std::uint64_t{limits.edges};
}

BlockView TopologyBlock::view() const noexcept {
  return {.dst_count = static_cast<std::uint32_t>(count_),
          .src_count = static_cast<std::uint32_t>(node_count_),
          .indptr = std::span(indptr_).first(count_ + 1),
          .indices = std::span(indices_).first(indptr_[count_]),
          .dst_in_src = std::span(own_).first(count_)};
}

TopologyStream::TopologyStream(const Dataset& dataset, BlockLimits limits, ReadAhead ahead)
    : name_(dataset.graph().name()),
      node_count_(dataset.info().node_count),
      edge_count_(dataset.info().edge_count),
      limits_(limits),
      offsets_stream_(open_offsets(dataset, ahead)),
      edges_stream_(
          stream_section(dataset.graph(), dataset.graph().require(SectionKind::csc_indices), ahead)) {
  GNEISS_ASSERT(limits.destinations > 0);
  offsets_.reserve(limits.destinations);
}

std::uint64_t TopologyStream::memory_bytes(BlockLimits limits, ReadAhead ahead) noexcept {
  return 8 * std::uint64_t{limits.destinations} + 2 * ahead.memory_bytes();
}

void TopologyStream::read_offsets() {
  const std::size_t had = offsets_.size();
  const std::size_t wanted = std::min<std::uint64_t>(limits_.destinations, node_count_ - next_);
  offsets_.resize(wanted);
  offsets_stream_.read(std::as_writable_bytes(std::span(offsets_).subspan(had)));
  for (std::size_t i = had; i < wanted; ++i) {
    const std::uint64_t before = i == 0 ? edges_done_ : offsets_[i - 1];
    if (offsets_[i] < before || offsets_[i] > edge_count_) fail_offsets(name_, edge_count_);
  }
}

void TopologyStream::read_edges(std::span<std::uint32_t> edges) {
  for (std::size_t done = 0; done < edges.size(); done += checked_at_once) {
    const auto some = edges.subspan(done, std::min(checked_at_once, edges.size() - done));
    edges_stream_.read(std::as_writable_bytes(some));
    if (!are_below(some, node_count_)) {
      fail(Kind::corruption, "{}: an edge names node {}, the dataset has {}", name_, std::ranges::max(some),
           node_count_);
    }
  }
}

bool TopologyStream::next(TopologyBlock& block) {
  if (next_ == node_count_) {
    if (edges_done_ != edge_count_) fail_offsets(name_, edge_count_);
    return false;
  }
  read_offsets();
  std::size_t count = 1;
  while (count < offsets_.size() && offsets_[count] - edges_done_ <= limits_.edges) ++count;
  const std::uint64_t edges = offsets_[count - 1] - edges_done_;
  if (edges > limits_.edges) {
    fail(Kind::corruption, "{}: node {} has {} edges, more than when its offsets were read first", name_,
         next_, edges);
  }
  read_edges(std::span(block.indices_).first(edges));
  for (std::size_t i = 0; i < count; ++i) {
    block.indptr_[i + 1] = static_cast<std::uint32_t>(offsets_[i] - edges_done_);
  }
  std::iota(block.own_.begin(), block.own_.begin() + static_cast<std::ptrdiff_t>(count),
            static_cast<std::uint32_t>(next_));
  block.node_count_ = node_count_;
  block.count_ = count;
  edges_done_ = offsets_[count - 1];
  offsets_.erase(offsets_.begin(), offsets_.begin() + static_cast<std::ptrdiff_t>(count));
  next_ += count;
  return true;
}

std::uint64_t largest_in_degree(const Dataset& dataset, ReadAhead ahead) {
  SequentialReader reader = open_offsets(dataset, ahead);
  std::vector<std::uint64_t> offsets(4096);
  std::uint64_t last = 0;
  std::uint64_t largest = 0;
  for (std::uint64_t left = dataset.info().node_count; left > 0;) {
    const auto some = std::span(offsets).first(std::min<std::uint64_t>(offsets.size(), left));
    reader.read(std::as_writable_bytes(some));
    for (const std::uint64_t offset : some) {
      if (offset < last || offset > dataset.info().edge_count) {
        fail_offsets(dataset.graph().name(), dataset.info().edge_count);
      }
      largest = std::max(largest, offset - last);
      last = offset;
    }
    left -= some.size();
  }
  if (last != dataset.info().edge_count) fail_offsets(dataset.graph().name(), dataset.info().edge_count);
  return largest;
}

}  // namespace gneiss
