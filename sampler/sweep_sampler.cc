#include "sampler/sweep_sampler.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "sampler/preparation_in_work.h"
#include "storage/base/error.h"
#include "storage/base/memory_limit.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// A guess before the first wave has told: half of what batches without a node in common would take. Too many
// leave again before the costly part.
SweepWave::Needs guess_needs(const DatasetInfo& info, const SamplerOptions& options, std::uint64_t seeds) {
  std::uint64_t nodes = seeds;
  std::uint64_t edges = 0;
  for (const std::int32_t fanout : options.fanouts) {
    const std::uint64_t draws =
        fanout == -1 ? divide_up(info.edge_count, info.node_count) : static_cast<std::uint64_t>(fanout);
    edges = std::min(nodes * draws, info.edge_count);
    nodes = std::min(nodes + edges, info.node_count);
  }
  constexpr std::uint64_t bytes_per_destination = 32;
  const std::uint64_t destinations = nodes - std::min(nodes, edges);
  return {.batch_bytes =
              (bytes_per_destination * destinations + (options.edge_positions ? 12 : 4) * edges) / 2 + 1024,
          .worker_bytes = 30 * nodes};
}

// How many batches a wave may begin with.
std::size_t count_within(std::uint64_t memory_bytes, const SweepWave::Needs& needs, std::size_t threads) {
  const std::uint64_t workers = needs.worker_bytes * threads;
  return std::max<std::uint64_t>(1, (memory_bytes - std::min(memory_bytes, workers)) / needs.batch_bytes);
}

// Takes up the batches of finished waves; returns how many there are.
std::size_t go_on(CheckpointReader& saved, BatchScratch& scratch, const BatchSchedule& schedule,
                  std::uint64_t node_count, SweepWave::Needs& needs) {
  try {
    const SweepWave::Needs known{.batch_bytes = std::max<std::uint64_t>(1, saved.take()),
                                 .worker_bytes = saved.take()};
    const std::size_t count = scratch.go_on(saved, schedule, node_count);
    needs = known;
    return count;
  } catch (const Error& error) {
    if (error.kind() != Kind::corruption) throw;
    return 0;
  }
}

}  // namespace

SweepSampler::SweepSampler(const Dataset& dataset, const BatchSchedule& schedule, const SweepOptions& options,
                           ThreadPool& pool)
    : scratch_(options.work_folder.empty()
                   ? BatchScratch(dataset.folder(), schedule.size())
                   : BatchScratch(BatchScratch::open_file(options.work_folder / batches_work_name),
                                  schedule.size())) {
  const Stopwatch clock;
  std::size_t first = 0;
  SweepWave::Needs needs = guess_needs(dataset.info(), options.sampler, schedule.seeds(0).size());
  if (!options.work_folder.empty()) {
    auto saved = CheckpointReader::open(options.work_folder / batches_checkpoint_name, options.made_from);
    if (saved) first = go_on(*saved, scratch_, schedule, dataset.info().node_count, needs);
  }
  if (first == schedule.size()) return;
  sample_ahead(dataset, schedule, options, pool, first, needs);
  give_back_freed_memory();
  spdlog::info("sampled {} batches in {} wave{} and {}: {} of graph.csc were read", schedule.size(), waves_,
               waves_ == 1 ? "" : "s", format_seconds(clock.seconds()),
               format_bytes(static_cast<double>(bytes_read_)));
}

void SweepSampler::sample_ahead(const Dataset& dataset, const BatchSchedule& schedule,
                                const SweepOptions& options, ThreadPool& pool, std::size_t first,
                                SweepWave::Needs needs) {
  const std::uint64_t fixed = GraphSweep::memory_bytes(dataset.info(), options.graph);
  const std::uint64_t memory_bytes = options.memory_bytes - std::min(options.memory_bytes, fixed);
  GraphSweep sweep(dataset, options.graph);
  std::vector<SweepWorker> workers(
      pool.thread_count(),
      {NeighborDraw(options.sampler), std::vector<LocalIdTable>(options.sampler.fanouts.size())});
  spdlog::info(
      "the topology ({}) does not fit --memory: graph.csc is swept, {} for each wave of batches",
      format_bytes(static_cast<double>(sweep.section_bytes())),
      options.sampler.fanouts.size() == 1 ? "once" : fmt::format("{} times", options.sampler.fanouts.size()));
  for (; first < schedule.size(); ++waves_) {
    const std::size_t left = schedule.size() - first;
    const std::size_t fitting = count_within(memory_bytes, needs, pool.thread_count());
    SweepWave wave(sweep, schedule, workers, pool, memory_bytes, first, std::min(left, fitting));
    const std::string name = fmt::format("wave {} of {}", waves_ + 1, waves_ + divide_up(left, fitting));
    first +=
        wave.run(name, [&](std::size_t index, const SampledBatch& batch) { scratch_.store(index, batch); });
    needs = wave.needs();
    if (!options.work_folder.empty()) save(options, first, needs);
  }
  bytes_read_ = sweep.bytes_read();
}

void SweepSampler::save(const SweepOptions& options, std::size_t done, const SweepWave::Needs& needs) {
  std::vector<std::uint64_t> numbers{needs.batch_bytes, needs.worker_bytes};
  scratch_.save(done, numbers);
  write_checkpoint(options.work_folder / batches_checkpoint_name, options.made_from, numbers);
}

}  // namespace gneiss
