#include "sampler/prepare.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "sampler/batches.h"
#include "sampler/budget_table.h"
#include "sampler/plan_batch.h"
#include "sampler/sweep_sampler.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/pack/packer.h"
#include "storage/pack/shared_packer.h"

namespace gneiss {
namespace {

// Batches worked on at once, per thread: enough that no thread waits for the slowest.
constexpr std::size_t batches_per_thread = 4;

SamplerOptions sampler_options(const PreparationOptions& options) {
  return {
      .fanouts = options.fanouts,
      .replace = options.replace,
      .edge_positions = options.edge_positions,
      .seed = options.seed,
      .kind = options.sampler,
      .labor = {.layer_dependency = options.layer_dependency, .batch_dependency = options.batch_dependency}};
}

// How the topology is gone through: held in memory, or swept on disk.
struct SamplingMemory {
  bool in_memory = true;
  std::uint64_t sweep_bytes = 0;  // for sampling ahead, before anything else is held
};

// Buffers are a small part of a small graph, so that a sweep always needs less than the graph itself.
GraphSweepOptions sweep_options(const DatasetInfo& info) {
  const GraphSweepOptions most;
  return {.piece_bytes = std::clamp<std::uint64_t>(
              round_down(LoadedTopology::memory_bytes(info) / 64, graph_checksum_block_bytes),
              graph_checksum_block_bytes, most.piece_bytes)};
}

// Produces pieces in parallel and consumes them in order: the files do not depend on the threads.
template <class Piece, class Produce, class Consume>
void in_order(std::size_t count, ThreadPool& pool, const Produce& produce, const Consume& consume) {
  const std::size_t window = pool.thread_count() * batches_per_thread;
  std::vector<Piece> pieces(std::min(window, count));
  for (std::size_t first = 0; first < count; first += window) {
    throw_if_interrupted();
    const std::size_t size = std::min(window, count - first);
    pool.parallel_for(size,
                      [&](std::size_t i, std::size_t worker) { produce(first + i, worker, pieces[i]); });
    for (std::size_t i = 0; i < size; ++i) consume(first + i, pieces[i]);
  }
}

struct CountedBatch {
  std::vector<NodeId> inputs;  // ascending
  std::uint64_t edges = 0;
  std::uint64_t pool_bytes = 0;  // at most, of both frames
};

// What a batch's two frames take in the pool at most: numbers that do not compress, and padding.
std::uint64_t pool_bytes_at_most(const SampledBatch& batch) {
  std::uint64_t numbers = 3 * batch.nodes.size();  // input nodes; a slot, or admission and slot, for each
  numbers += 2 * std::uint64_t{batch.seed_count} + 2 * std::uint64_t{batch.blocks.front().dst_count};
  for (const SampledBlock& block : batch.blocks) {
    numbers += block.indptr.size() + block.indices.size() + 2 * block.edge_positions.size();
  }
  const std::uint64_t sections = 16 + 8 * batch.blocks.size();
  const std::uint64_t raw_bytes = 4 * numbers + sections * 2 * frame_section_alignment;
  // Zstandard adds less than 1 in 256 where it cannot compress; each frame is padded to 4 KiB.
  return raw_bytes + raw_bytes / 256 + 2 * file_section_alignment + 1024;
}

class Preparer {
 public:
  Preparer(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool, const SamplingMemory& memory)
      : dataset_(dataset),
        request_(request),
        pool_(pool),
        schedule_(dataset, {.batch_size = request.options.batch_size,
                            .sample_epochs = request.options.sample_epochs,
                            .seed = request.options.seed,
                            .evaluation = request.options.evaluation}),
        lists_(dataset.folder()),
        planner_(dataset, request.options, schedule_, lists_, counts_) {
    const SamplerOptions options = sampler_options(request.options);
    if (memory.in_memory) {
      sampler_ = std::make_unique<MemorySampler>(dataset, schedule_, options, pool.thread_count());
      return;
    }
    auto sweep = std::make_unique<SweepSampler>(
        dataset, schedule_,
        SweepOptions{
            .sampler = options, .memory_bytes = memory.sweep_bytes, .graph = sweep_options(dataset.info())},
        pool);
    sweep_waves_ = sweep->wave_count();
    graph_bytes_read_ = sweep->bytes_read();
    sampler_ = std::move(sweep);
  }

  std::uint32_t sweep_waves() const noexcept { return sweep_waves_; }
  std::uint64_t graph_bytes_read() const noexcept { return graph_bytes_read_; }

  void count() {
    counts_.accesses.assign(dataset_.info().node_count, 0);
    std::vector<SampledBatch> scratch(pool_.thread_count());
    Progress progress(sampler_->label(), schedule_.size(), Progress::Unit::items);
    in_order<CountedBatch>(
        schedule_.size(), pool_,
        [&](std::size_t index, std::size_t worker, CountedBatch& counted) {
          SampledBatch& batch = scratch[worker];
          sampler_->sample(index, worker, batch);
          counted.inputs.assign(batch.nodes.begin(), batch.nodes.end());
          std::ranges::sort(counted.inputs);
          counted.edges = 0;
          for (const SampledBlock& block : batch.blocks) counted.edges += block.indices.size();
          counted.pool_bytes = pool_bytes_at_most(batch);
          if (schedule_.key(index).split == Split::train) count_accesses(counted.inputs);
        },
        [&](std::size_t, CountedBatch& counted) {
          lists_.append(counted.inputs);
          counts_.edges.push_back(counted.edges);
          counts_.pool_bytes += counted.pool_bytes;
          progress.advance(1);
        });
  }

  PreparationCost plan() {
    planner_.choose_residency();
    planner_.fit_disk_budget(request_.disk_budget_bytes);
    return planner_.cost();
  }
  void explore(const std::function<void(const BudgetChoice&)>& show) const {
    explore_budgets(dataset_, request_.options, schedule_, lists_, counts_, show);
  }

  // The second pass: samples again, planned this time.
  void write_samples(const std::filesystem::path& folder) {
    const auto labels = dataset_.read_labels();
    std::vector<SampledBatch> scratch(pool_.thread_count());
    std::vector<BatchCompressor> compressors(pool_.thread_count());
    std::vector<BatchPlanner> planners(pool_.thread_count(),
                                       BatchPlanner(planner_.tiers(), planner_.shared(), labels));
    SamplePoolWriter writer(folder / pool_file_name, dataset_.fingerprint());
    Progress progress("writing samples", schedule_.size(), Progress::Unit::items);
    in_order<CompressedBatch>(
        schedule_.size(), pool_,
        [&](std::size_t index, std::size_t worker, CompressedBatch& compressed) {
          SampledBatch& batch = scratch[worker];
          sampler_->sample(index, worker, batch);
          const BatchFrame& frame = planners[worker].plan(index, batch);
          compressed = compressors[worker].compress(batch.key, frame, planners[worker].input_nodes());
        },
        [&](std::size_t index, CompressedBatch& compressed) {
          GNEISS_ASSERT(compressed.entry.page_rows + compressed.entry.disk_rows ==
                        planner_.rows()[index].disk_rows);
          writer.append(compressed);
          progress.advance(1);
        });
    writer.finish();
  }

  PackResult pack(const std::filesystem::path& folder) {
    sampler_.reset();  // the packer's pieces take the topology's place
    const std::vector<BatchKey> keys = planner_.batch_keys();
    const std::uint64_t held = 4 * dataset_.info().node_count +
                               8 * std::uint64_t{planner_.tiers().slot_count};  // slots, nodes, moves
    const PackTask task{.dataset = &dataset_,
                        .lists = &lists_,
                        .plan = &planner_.tiers(),
                        .keys = keys,
                        .rows = planner_.rows(),
                        .folder = folder,
                        .memory_bytes = request_.memory_bytes - std::min(request_.memory_bytes, held)};
    return planner_.shared() != nullptr ? pack_shared_features(task, *planner_.shared(), pool_)
                                        : pack_features(task, pool_);
  }

  PreparationInfo info() const {
    return {.options = request_.options,
            .dataset_fingerprint = dataset_.fingerprint(),
            .train_batches_per_epoch = schedule_.train_batches_per_epoch(),
            .planned = planner_.residency()};
  }

  void free_counts() { counts_ = {}; }

 private:
  void count_accesses(std::span<const NodeId> nodes) {
    for (const NodeId node : nodes) {
      std::atomic_ref(counts_.accesses[to_index(node)]).fetch_add(1, std::memory_order_relaxed);
    }
  }

  Dataset& dataset_;
  const PrepareRequest& request_;
  ThreadPool& pool_;
  BatchSchedule schedule_;
  std::unique_ptr<BatchSampler> sampler_;  // given back before packing
  std::uint32_t sweep_waves_ = 0;
  std::uint64_t graph_bytes_read_ = 0;
  InputLists lists_;
  BatchCounts counts_;
  PreparationPlanner planner_;
};

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
  return std::max(least, std::min(nodes, count_max) * 140 + std::min(edges, count_max) * bytes_per_edge);
}

// Chooses how the topology is gone through. Throws Error(config) with the least that would do.
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
  // Counts, slots and labels, and the batches in work. A sweep has ended when these are taken.
  // What planning holds is less, or as much, once these are given back.
  const std::uint64_t passes =
      std::max(16 * info.node_count + batch_memory_bytes(info, options) * pool.thread_count(),
               (request.disk_budget_bytes > 0 || request.dry_run ? 24 : 16) * info.node_count);
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
  return {.in_memory = false, .sweep_bytes = request.memory_bytes - always};
}

void check_space(const PreparationCost& cost, std::uint64_t disk_budget_bytes) {
  const std::uint64_t needed = cost.disk_space_bytes();
  if (disk_budget_bytes > 0 && needed > disk_budget_bytes) {
    fail(Kind::config,
         "--disk-budget {} is too little: the preparation takes up to {}; give more, cache more with "
         "--cpu-cache, or "
         "lower --sample-epochs",
         format_bytes(static_cast<double>(disk_budget_bytes)), format_bytes_up(needed));
  }
  if (needed > cost.free_bytes) {
    fail(
        Kind::io,
        "no space left: the preparation takes up to {}, {} are free; free some, cache more with --cpu-cache, "
        "or lower --sample-epochs",
        format_bytes(static_cast<double>(needed)), format_bytes(static_cast<double>(cost.free_bytes)));
  }
}

// A preparation is not replaced under a training that reads it: said before the work rather than after.
void check_unused(const Dataset& dataset, const PrepareRequest& request) {
  const auto pool = preparation_folder(dataset, request.name) / pool_file_name;
  if (!FileLock::try_take(pool, FileLock::Mode::exclusive)) {
    fail(Kind::io,
         "preparation '{}' is being read by another gneiss; wait until it ends, or choose another --name",
         request.name);
  }
}

// True when a sealed preparation of this name with these options stands; throws when another is in the way.
bool is_already_done(const Dataset& dataset, const PrepareRequest& request) {
  const auto entry = preparation_entry(dataset, request.name);
  if (!entry || request.force) return false;
  const auto made_with = entry->is_object() ? entry->value("options", nlohmann::json()) : nlohmann::json();
  if (made_with != to_json(request.options)) {
    fail(Kind::config,
         "preparation '{}' exists with other options; choose another --name, or pass --force to replace it",
         request.name);
  }
  static_cast<void>(Preparation::open(dataset, request.name));  // its files are there, and of this dataset
  return true;
}

// Removes the folder unless it was kept.
class PartialFolder {
 public:
  explicit PartialFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    if (!error) std::filesystem::create_directories(path_, error);
    if (error) fail_errno(path_.string(), "create the folder", error.value());
  }
  ~PartialFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
    std::filesystem::remove(path_.parent_path(), ignored);  // if it holds nothing else
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

void check_request(const PrepareRequest& request) {
  const auto& options = request.options;
  if (options.fanouts.empty())
    fail(Kind::config, "--fanout is empty; give one number per layer, such as 10,10");
  for (const std::int32_t fanout : options.fanouts) {
    if (fanout < -1 || fanout == 0) {
      fail(Kind::config, "--fanout {} is not possible; use 1 or more, or -1 for all neighbors", fanout);
    }
    if (fanout == -1 && options.replace) {
      fail(Kind::config,
           "--fanout -1 takes all neighbors and cannot be drawn with replacement; drop --replace");
    }
  }
  if (options.sampler == SamplerKind::labor && options.replace) {
    fail(Kind::config,
         "--sampler labor draws without replacement; drop --replace, or use --sampler neighbor");
  }
  if (options.batch_dependency == 0)
    fail(Kind::config, "--batch-dependency is 0; use 1 for independent batches");
  if (options.fanouts.size() > 16)
    fail(Kind::config, "--fanout names {} hops; 16 are the most", options.fanouts.size());
  if (options.batch_size == 0) fail(Kind::config, "--batch-size is 0; use 1 or more");
  if (options.sample_epochs == 0) fail(Kind::config, "--sample-epochs is 0; use 1 or more");
  const bool plain = std::ranges::all_of(request.name, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  });
  constexpr std::size_t name_bytes_max = 200;  // a file name with ".partial" is at most 255
  if (request.name.empty() || request.name.front() == '.' || !plain || request.name.ends_with(".partial") ||
      request.name.size() > name_bytes_max) {
    fail(Kind::config,
         "--name '{}' cannot name a preparation; use up to 200 of letters, digits, '-', '_', '.'",
         request.name);
  }
}

PrepareResult prepare(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool,
                      const std::function<void(const PreparationCost&)>& show_plan) {
  check_request(request);
  PrepareResult result;
  if (is_already_done(dataset, request)) {
    result.already_done = true;
    return result;
  }
  const SamplingMemory memory = plan_memory(dataset, request, pool);
  if (!request.dry_run) check_unused(dataset, request);
  const Stopwatch clock;
  Preparer preparer(dataset, request, pool, memory);
  result.sweep_waves = preparer.sweep_waves();
  result.graph_bytes_read = preparer.graph_bytes_read();
  preparer.count();
  result.cost = preparer.plan();
  result.sampling_seconds = clock.seconds();
  show_plan(result.cost);
  if (request.dry_run && request.explore_budgets) preparer.explore(request.explore_budgets);
  preparer.free_counts();
  check_space(result.cost, request.disk_budget_bytes);
  if (request.dry_run) return result;

  const auto target = preparation_folder(dataset, request.name);
  const PartialFolder partial(target.string() + ".partial");
  preparer.write_samples(partial.path());
  result.sampling_seconds = clock.seconds();
  const PackResult packed = preparer.pack(partial.path());
  result.packing_seconds = packed.seconds;
  result.scans = packed.scans;
  result.bytes_read = packed.bytes_read;

  // The old entry goes first: a kill in between leaves a folder that no entry speaks of, never the reverse.
  const auto seal = seal_preparation(partial.path(), request.name, preparer.info());
  const FileLock alone = FileLock::wait_for(target / pool_file_name, FileLock::Mode::exclusive,
                                            "those who read the old preparation");
  dataset.catalog().apply({{seal.first, std::nullopt}});
  std::error_code error;
  std::filesystem::remove_all(target, error);
  if (error) fail_errno(target.string(), "remove the old preparation", error.value());
  sync_folder(partial.path());
  publish(partial.path(), target);
  sync_folder(dataset.folder());  // which may have just received prepared/
  dataset.catalog().apply({seal});
  const Preparation sealed = Preparation::open(dataset, request.name);
  result.packed_bytes = sealed.bytes();
  result.samples_bytes = sealed.pool().file().file_bytes();
  return result;
}

}  // namespace gneiss
