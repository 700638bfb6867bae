#include "sampler/sampling_memory.h"

#include <algorithm>

#include "sampler/topology.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// What one thread holds of a largest batch: hash table, nodes, blocks, planned and compressed, four of these
// waiting to be written. Neighborhoods overlap, so real batches are smaller.
std::uint64_t batch_memory_bytes(const DatasetInfo& info, const PreparationOptions& options) {
  constexpr std::uint64_t least = 8ULL << 20;
  constexpr std::uint64_t count_max = 1ULL << 40;  // no product below overflows
  std::uint64_t nodes = std::min<std::uint64_t>(options.batch_size, info.node_count);
  std::uint64_t edges = 0;
  for (const std::int32_t fanout : options.fanouts) {
    // All neighbors of a batch are not known before they are met: four times the average is usual for hubs.
    const std::uint64_t draws =
        fanout == -1 ? 4 * divide_up(info.edge_count, info.node_count) : static_cast<std::uint64_t>(fanout);
    const std::uint64_t drawn = nodes * std::min<std::uint64_t>(draws, 1ULL << 31);
    edges += std::min(drawn, options.replace ? count_max : info.edge_count);
    nodes = std::min(info.node_count, nodes + drawn);
  }
  const std::uint64_t bytes_per_edge = options.edge_positions ? 84 : 28;
  const std::uint64_t label_bytes =
      std::min<std::uint64_t>(options.batch_size, info.node_count) * info.label_columns;
  return std::max(least, std::min(nodes, count_max) * 140 + std::min(edges, count_max) * bytes_per_edge +
                             7 * label_bytes);
}

}  // namespace

// Buffers are a small part of a small graph, so that a sweep always needs less than the graph itself.
GraphSweepOptions sweep_options(const DatasetInfo& info) {
  const GraphSweepOptions most;
  return {.piece_bytes = std::clamp<std::uint64_t>(
              round_down(LoadedTopology::memory_bytes(info) / 64, graph_checksum_block_bytes),
              graph_checksum_block_bytes, most.piece_bytes)};
}

SamplingMemory plan_memory(const Dataset& dataset, const PrepareRequest& request, const ThreadPool& pool) {
  constexpr std::uint64_t program_bytes = 32ULL << 20;
  constexpr std::uint64_t bytes_per_batch = 512;  // keys, offsets and index entries
  const DatasetInfo& info = dataset.info();
  const PreparationOptions& options = request.options;
  const std::uint64_t seeds =
      dataset.split(Split::train).size() * options.sample_epochs +
      (options.evaluation ? dataset.split(Split::valid).size() + dataset.split(Split::test).size() : 0);
  const std::uint64_t always =
      program_bytes + 4 * seeds + bytes_per_batch * divide_up(seeds, options.batch_size);
  // Counts, slots and labels, and the batches in work. A sweep has ended when all but counts are taken.
  // Labels of one class are among the 16 bytes, columns of them are not; reading them takes them twice.
  const std::uint64_t label_bytes = 2 * info.label_columns * info.node_count;
  // Where batches may share rows, planning holds more once the batches in work are given back.
  const bool may_share = request.disk_budget_bytes > 0 || request.dry_run;
  const std::uint64_t passes =
      std::max(16 * info.node_count + label_bytes + batch_memory_bytes(info, options) * pool.thread_count(),
               (may_share ? 33 : 16) * info.node_count);
  const std::uint64_t sweep = GraphSweep::memory_bytes(info, sweep_options(info));
  if (request.memory_bytes >= always + passes + LoadedTopology::memory_bytes(info)) return {};
  const std::uint64_t least =
      always + passes + std::min<std::uint64_t>(sweep, LoadedTopology::memory_bytes(info));
  if (request.memory_bytes < least) {
    // In whole MiB, rounded up: what is printed must do.
    constexpr std::uint64_t mib = 1ULL << 20;
    fail(
        Kind::config,
        "--memory {} is too little to prepare this graph with {} threads; {}MiB would do, or fewer --threads",
        format_bytes(static_cast<double>(request.memory_bytes)), pool.thread_count(), divide_up(least, mib));
  }
  // The counts are held while it samples ahead.
  return {.in_memory = false, .sweep_bytes = request.memory_bytes - always - 4 * info.node_count};
}

}  // namespace gneiss
