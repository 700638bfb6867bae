#include "sampler/sweep_wave.h"

#include <algorithm>
#include <optional>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// Waking the other threads costs some 10 us: as much as taking a batch's neighbors from this much.
constexpr std::uint64_t shared_bytes_min = 256U << 10;

// Numbering a batch of n nodes: a table at most a quarter full when it has just grown, beside the one it grew
// from (48 n), and a list of nodes that grows likewise (12 n).
constexpr std::uint64_t numbering_bytes_per_node = 60;

// Candidates are cut back to the wanted ones when there are twice as many, and some for small fanouts.
constexpr std::uint64_t spare_candidates = 1024;

std::uint64_t held_bytes(const SampledBatch& batch) {
  constexpr std::uint64_t batch_bytes = 1024;  // before its arrays
  std::uint64_t bytes = batch_bytes + sizeof(NodeId) * batch.nodes.size();
  for (const SampledBlock& block : batch.blocks) {
    bytes += 4 * (block.indptr.size() + block.indices.size()) + 8 * block.edge_positions.size();
  }
  return bytes;
}

NodeId node_of(std::uint64_t frontier_entry) { return static_cast<NodeId>(frontier_entry >> 32); }
std::uint32_t destination_of(std::uint64_t frontier_entry) {
  return static_cast<std::uint32_t>(frontier_entry);
}

}  // namespace

SweepWave::SweepWave(GraphSweep& sweep, const BatchSchedule& schedule, std::span<SweepWorker> workers,
                     ThreadPool& pool, std::uint64_t memory_bytes, std::size_t first, std::size_t count)
    : sweep_(sweep),
      workers_(workers),
      pool_(pool),
      memory_bytes_(memory_bytes),
      edge_positions_(workers.front().draw.options().edge_positions),
      items_(count) {
  GNEISS_ASSERT(count > 0 && workers.size() >= pool.thread_count());
  for (std::size_t i = 0; i < count; ++i) {
    items_[i].index = first + i;
    SampledBatch& batch = items_[i].batch;
    const auto seeds = schedule.seeds(first + i);
    batch.key = schedule.key(first + i);
    batch.nodes.assign(seeds.begin(), seeds.end());
    batch.seed_count = static_cast<std::uint32_t>(seeds.size());
    batch.blocks.resize(hop_count());
  }
}

NeighborDraw& SweepWave::draw_for(const Item& item, std::size_t worker) const {
  NeighborDraw& draw = workers_[worker].draw;
  draw.begin_hop(item.batch.key, hop_);
  return draw;
}

void SweepWave::for_each(std::uint64_t bytes, const std::function<void(Item&, std::size_t)>& work) {
  if (bytes < shared_bytes_min) {
    for (Item& item : items_) work(item, 0);
    return;
  }
  pool_.parallel_for(items_.size(), [&](std::size_t i, std::size_t worker) { work(items_[i], worker); });
}

// Lets go of the last batches while all together would need more than there is.
void SweepWave::keep_within_budget(const std::function<Needs(const Item&)>& needs_more) {
  std::vector<Needs> needs;
  for (const Item& item : items_) {
    Needs need = needs_more(item);
    need.batch_bytes += held_bytes(item.batch) + sizeof(std::uint64_t) * item.frontier.size() +
                        sizeof(EdgeRange) * item.ranges.size();
    needs.push_back(need);
    needs_.batch_bytes = std::max(needs_.batch_bytes, need.batch_bytes);
    needs_.worker_bytes = std::max(needs_.worker_bytes, need.worker_bytes);
  }
  std::uint64_t total = 0;
  std::uint64_t worker_bytes = 0;
  std::size_t kept = 0;
  for (; kept < needs.size(); ++kept) {
    total += needs[kept].batch_bytes;
    worker_bytes = std::max(worker_bytes, needs[kept].worker_bytes);
    const std::uint64_t sum = total + worker_bytes * std::min(pool_.thread_count(), kept + 1);
    if (sum <= memory_bytes_) continue;
    if (kept == 0) {
      fail(Kind::config,
           "{} draws too many neighbors in hop {} for --memory: give {} more, or use a smaller batch size or "
           "fanout",
           to_string(items_.front().batch.key), hop_ + 1, format_bytes_up(sum - memory_bytes_));
    }
    break;
  }
  items_.resize(kept);
}

void SweepWave::sort_frontiers() {
  for_each(shared_bytes_min, [](Item& item, std::size_t) {
    throw_if_interrupted();
    const auto& nodes = item.batch.nodes;
    item.frontier.resize(nodes.size());
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
      item.frontier[i] = std::uint64_t{to_index(nodes[i])} << 32 | i;
    }
    std::ranges::sort(item.frontier);
    item.ranges.resize(nodes.size());
  });
}

void SweepWave::find_ranges(Progress& progress) {
  sweep_.offsets().clear();
  for_each(shared_bytes_min, [&](Item& item, std::size_t) {
    item.next = 0;
    for (const std::uint64_t entry : item.frontier) {
      const std::uint64_t begin = std::uint64_t{to_index(node_of(entry))} * sizeof(std::uint64_t);
      sweep_.offsets().mark(begin, begin + 2 * sizeof(std::uint64_t));
    }
  });
  sweep_.read_offsets(
      [&](std::uint64_t first, std::span<const std::uint64_t> offsets) {
        for_each(offsets.size_bytes(), [&](Item& item, std::size_t) { place_offsets(item, first, offsets); });
      },
      [&](std::uint64_t bytes) { progress.advance(bytes); });
}

// A node's neighbors begin at its own offset and end at the next node's, which may come with the next piece.
void SweepWave::place_offsets(Item& item, std::uint64_t first, std::span<const std::uint64_t> offsets) const {
  const std::uint64_t end = first + offsets.size();
  for (; item.next < item.frontier.size(); ++item.next) {
    const std::uint64_t node = to_index(node_of(item.frontier[item.next]));
    EdgeRange& range = item.ranges[item.next];
    if (node >= end) return;
    if (node >= first) range.begin = offsets[node - first];
    if (node + 1 == end) return;
    range.end = offsets[node + 1 - first];
    if (range.begin > range.end || range.end > sweep_.info().edge_count) {
      fail(Kind::corruption, "{}: the edge offsets of node {} do not ascend within 0 to {}", sweep_.name(),
           node, sweep_.info().edge_count);
    }
  }
}

void SweepWave::count_neighbors() {
  for_each(shared_bytes_min, [&](Item& item, std::size_t worker) {
    throw_if_interrupted();
    GNEISS_ASSERT(item.next == item.frontier.size());
    NeighborDraw& draw = draw_for(item, worker);
    SampledBlock& block = block_of(item);
    block.dst_count = static_cast<std::uint32_t>(item.batch.nodes.size());
    block.indptr.assign(std::size_t{block.dst_count} + 1, 0);
    std::uint64_t edges = 0;
    std::uint64_t drawn_of_more = 0;
    for (std::size_t i = 0; i < item.frontier.size(); ++i) {
      const std::uint64_t degree = item.ranges[i].end - item.ranges[i].begin;
      const std::uint64_t count = draw.count(degree);
      edges += count;
      check_counts(item.batch.key, hop_, edges, 0);
      block.indptr[destination_of(item.frontier[i]) + 1] = static_cast<std::uint32_t>(count);
      if (!draw.takes_all(degree)) drawn_of_more = std::max(drawn_of_more, count);
    }
    for (std::size_t dst = 0; dst < block.dst_count; ++dst) block.indptr[dst + 1] += block.indptr[dst];
    item.cut_bytes = draw.needs_neighbors() ? sizeof(Candidate) * (2 * drawn_of_more + spare_candidates)
                                            : sizeof(std::uint64_t) * drawn_of_more;
  });
}

void SweepWave::take_neighbors(Progress& progress) {
  sweep_.edges().clear();
  for_each(shared_bytes_min, [&](Item& item, std::size_t) {
    item.next = 0;
    SampledBlock& block = block_of(item);
    block.indices.resize(block.indptr.back());
    if (edge_positions_) block.edge_positions.resize(block.indptr.back());
    for (const EdgeRange& range : item.ranges) {
      sweep_.edges().mark(range.begin * sizeof(NodeId), range.end * sizeof(NodeId));
    }
  });
  sweep_.read_edges(
      [&](std::uint64_t first, std::span<const NodeId> edges) {
        const Passing passing{first, edges};
        for_each(edges.size_bytes(), [&](Item& item, std::size_t worker) {
          if (item.next < item.ranges.size() && item.ranges[item.next].begin < passing.end()) {
            take(item, draw_for(item, worker), passing);
          }
        });
      },
      [&](std::uint64_t bytes) { progress.advance(bytes); });
}

void SweepWave::put(SampledBlock& block, std::uint64_t edge, NodeId source, std::uint64_t position) const {
  block.indices[edge] = to_index(source);  // a node until number_sources()
  if (edge_positions_) block.edge_positions[edge] = position;
}

void SweepWave::take(Item& item, NeighborDraw& draw, const Passing& passing) const {
  SampledBlock& block = block_of(item);
  for (; item.next < item.ranges.size(); ++item.next) {
    const EdgeRange range = item.ranges[item.next];
    if (range.begin >= passing.end()) return;
    const std::uint64_t entry = item.frontier[item.next];
    std::uint64_t edge = block.indptr[destination_of(entry)];
    if (draw.takes_all(range.end - range.begin)) {
      const std::uint64_t begin = std::max(range.begin, passing.first);
      const std::uint64_t end = std::min(range.end, passing.end());
      for (std::uint64_t at = begin; at < end; ++at) {
        put(block, edge + (at - range.begin), passing.edges[at - passing.first], at);
      }
    } else if (range.begin >= passing.first && range.end <= passing.end()) {
      const auto neighbors = passing.edges.subspan(range.begin - passing.first, range.end - range.begin);
      for (const std::uint64_t position : draw.draw(node_of(entry), neighbors)) {
        put(block, edge++, neighbors[position], range.begin + position);
      }
    } else {
      take_cut(item, draw, passing);
    }
    if (range.end > passing.end()) return;  // goes on in the next piece
  }
}

// The part that is passing of a destination whose neighbors end in another piece than they begin in.
void SweepWave::take_cut(Item& item, NeighborDraw& draw, const Passing& passing) const {
  const EdgeRange range = item.ranges[item.next];
  const std::uint64_t degree = range.end - range.begin;
  const std::uint64_t entry = item.frontier[item.next];
  SampledBlock& block = block_of(item);
  std::uint64_t edge = block.indptr[destination_of(entry)];
  const std::uint64_t begin = std::max(range.begin, passing.first);
  const std::uint64_t end = std::min(range.end, passing.end());
  const auto source_at = [&](std::uint64_t at) { return passing.edges[at - passing.first]; };
  const bool is_first_part = range.begin >= passing.first;
  if (!draw.needs_neighbors()) {
    if (is_first_part) {
      const auto positions = draw.draw(node_of(entry), degree);
      item.cut_positions.assign(positions.begin(), positions.end());
    }
    for (const std::uint64_t position : item.cut_positions) {
      const std::uint64_t at = range.begin + position;
      if (at >= begin && at < end) put(block, edge, source_at(at), at);
      ++edge;
    }
    return;
  }
  // As draw_labor(), over a list that comes in parts.
  const std::uint64_t wanted = draw.count(degree);
  auto& candidates = item.cut_candidates;
  const auto keep_wanted = [&] {
    if (candidates.size() <= wanted) return;
    std::ranges::nth_element(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(wanted));
    candidates.resize(wanted);
  };
  if (is_first_part) candidates.clear();
  for (std::uint64_t at = begin; at < end; ++at) {
    candidates.push_back({draw.variates().of(source_at(at)), at, to_index(source_at(at))});
    if (candidates.size() >= 2 * wanted + spare_candidates) keep_wanted();
  }
  if (range.end > passing.end()) return;
  keep_wanted();
  std::ranges::sort(candidates, {}, &Candidate::position);
  for (const Candidate& drawn : candidates) {
    put(block, edge++, static_cast<NodeId>(drawn.node), drawn.position);
  }
}

// Turns the nodes that were drawn into local ids, new ones in the order in which they were drawn.
void SweepWave::number_sources(Item& item, LocalIdTable& table) const {
  constexpr std::size_t ahead = 16;  // misses of the table in flight
  auto& nodes = item.batch.nodes;
  SampledBlock& block = block_of(item);
  table.clear(nodes.size());
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    if (i + ahead < nodes.size()) table.prefetch(nodes[i + ahead]);
    GNEISS_ASSERT(table.find_or_insert(nodes[i], i) == i);
  }
  std::uint32_t greatest = 0;
  for (std::size_t edge = 0; edge < block.indices.size(); ++edge) {
    if (edge + ahead < block.indices.size()) {
      table.prefetch(static_cast<NodeId>(block.indices[edge + ahead]));
    }
    const auto source = static_cast<NodeId>(block.indices[edge]);
    greatest = std::max(greatest, to_index(source));
    const auto next = static_cast<std::uint32_t>(nodes.size());
    const std::uint32_t local = table.find_or_insert(source, next);
    if (local == next) nodes.push_back(source);
    block.indices[edge] = local;
  }
  if (!block.indices.empty() && greatest >= sweep_.info().node_count) {
    fail(Kind::corruption, "{}: an edge comes from node {}, the dataset has {} nodes", sweep_.name(),
         greatest, sweep_.info().node_count);
  }
  check_counts(item.batch.key, hop_, block.indices.size(), nodes.size());
  block.src_count = static_cast<std::uint32_t>(nodes.size());
}

void SweepWave::finish_hop(const Store* store) {
  for_each(shared_bytes_min, [&](Item& item, std::size_t worker) {
    throw_if_interrupted();
    for (; item.next < item.ranges.size(); ++item.next) {  // of no neighbors, past the last that was read
      GNEISS_ASSERT(item.ranges[item.next].begin == item.ranges[item.next].end);
    }
    item.frontier = {};
    item.ranges = {};
    item.cut_positions = {};
    item.cut_candidates = {};
    number_sources(item, workers_[worker].tables[hop_]);
    if (store == nullptr) {
      item.batch.nodes.shrink_to_fit();
      return;
    }
    (*store)(item.index, item.batch);
    item.batch = {};
  });
}

std::size_t SweepWave::run(const std::string& name, const Store& store) {
  std::optional<Progress> progress;
  progress.emplace("sampling " + name, hop_count() * sweep_.section_bytes(), Progress::Unit::bytes);
  for (hop_ = 0; hop_ < hop_count(); ++hop_) {
    keep_within_budget([](const Item& item) {
      constexpr std::uint64_t bytes = sizeof(std::uint64_t) + sizeof(EdgeRange) + sizeof(std::uint32_t);
      return Needs{.batch_bytes = bytes * (item.batch.nodes.size() + 1)};
    });
    sort_frontiers();
    find_ranges(*progress);
    count_neighbors();
    keep_within_budget([&](const Item& item) {
      const std::uint64_t nodes = item.batch.nodes.size();
      const std::uint64_t edges = item.batch.blocks[hop_count() - 1 - hop_].indptr.back();
      // Sources that are new stay with the batch, but for the last hop's.
      const std::uint64_t bytes_per_edge = (edge_positions_ ? 12 : 4) + (is_last_hop() ? 0 : sizeof(NodeId));
      return Needs{
          .batch_bytes = bytes_per_edge * edges + item.cut_bytes,
          .worker_bytes = numbering_bytes_per_node * std::min(sweep_.info().node_count, nodes + edges)};
    });
    take_neighbors(*progress);
    if (is_last_hop()) break;
    finish_hop(nullptr);
  }
  progress.emplace("storing " + name, items_.size(), Progress::Unit::items);
  const Store store_one = [&](std::size_t index, const SampledBatch& batch) {
    store(index, batch);
    progress->advance(1);
  };
  finish_hop(&store_one);
  return items_.size();
}

}  // namespace gneiss
