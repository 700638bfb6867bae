#include "sampler/prepare.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "sampler/batch_forecast.h"
#include "sampler/batches.h"
#include "sampler/budget_table.h"
#include "sampler/count_checkpoint.h"
#include "sampler/planned_sampling.h"
#include "sampler/preparation_in_work.h"
#include "sampler/sampling_memory.h"
#include "sampler/sweep_sampler.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/progress.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/format/drive_record.h"
#include "storage/pack/packer.h"
#include "storage/pack/packing_speed.h"
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

// Produces pieces [begin, count) in parallel and consumes them in order: the files do not depend on the
// threads.
template <class Piece, class Produce, class Consume>
void in_order(std::size_t begin, std::size_t count, ThreadPool& pool, const Produce& produce,
              const Consume& consume) {
  const std::size_t window = pool.thread_count() * batches_per_thread;
  std::vector<Piece> pieces(std::min(window, count - begin));
  for (std::size_t first = begin; first < count; first += window) {
    throw_if_interrupted();
    const std::size_t size = std::min(window, count - first);
    pool.parallel_for(size,
                      [&](std::size_t i, std::size_t worker) { produce(first + i, worker, pieces[i]); });
    for (std::size_t i = 0; i < size; ++i) consume(first + i, pieces[i]);
  }
}

struct CountedBatch {
  std::vector<NodeId> inputs;  // ascending
  BatchEntry entry{};
};

std::uint64_t read_gap(const Dataset& dataset, const PrepareRequest& request) {
  if (request.read_gap_bytes > 0) return request.read_gap_bytes;
  const auto drive = stored_drive_profile(dataset);
  return drive ? read_gap_for(*drive) : usual_read_gap_bytes;
}

class Preparer {
 public:
  //   work  where it comes to be; null: nothing is written
  Preparer(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool, const SamplingMemory& memory,
           const PreparationInWork* work)
      : dataset_(dataset),
        request_(request),
        pool_(pool),
        memory_(memory),
        work_(work),
        made_from_(work == nullptr ? 0 : work->made_from()),
        schedule_(dataset, {.batch_size = request.options.batch_size,
                            .sample_epochs = request.options.sample_epochs,
                            .seed = request.options.seed,
                            .evaluation = request.options.evaluation}),
        lists_(work == nullptr ? InputLists(dataset.folder())
                               : InputLists(CountCheckpoint::open_lists(work->folder()))),
        planner_(dataset, request.options, schedule_, lists_, counts_) {}

  std::uint32_t sweep_waves() const noexcept { return sweep_waves_; }
  std::uint64_t graph_bytes_read() const noexcept { return graph_bytes_read_; }
  std::uint64_t sampled_batches() const noexcept { return sampled_batches_; }

  void count() {
    counts_.accesses.assign(dataset_.info().node_count, 0);
    CountCheckpoint checkpoint(schedule_, work_ == nullptr ? "" : work_->folder(), made_from_);
    if (work_ != nullptr) checkpoint.go_on(lists_, counts_);
    const std::size_t begin = lists_.batch_count();
    taken_up_ = begin;
    if (begin == schedule_.size()) return;
    start_sampler();
    std::vector<SampledBatch> scratch(pool_.thread_count());
    Progress progress(sampler_->label(), schedule_.size(), Progress::Unit::items);
    progress.advance(begin);
    CheckpointTimer timer(request_.checkpoint_seconds);
    in_order<CountedBatch>(
        begin, schedule_.size(), pool_,
        [&](std::size_t index, std::size_t worker, CountedBatch& counted) {
          SampledBatch& batch = scratch[worker];
          sampler_->sample(index, worker, batch);
          counted.inputs.assign(batch.nodes.begin(), batch.nodes.end());
          std::ranges::sort(counted.inputs);
          counted.entry = forecast_batch(batch, dataset_.info().label_columns);
          if (schedule_.key(index).split == Split::train) count_accesses(counted.inputs);
        },
        [&](std::size_t, CountedBatch& counted) {
          lists_.append(counted.inputs);
          counts_.entries.push_back(counted.entry);
          ++sampled_batches_;
          progress.advance(1);
          if (work_ == nullptr) return;
          checkpoint.append(counted.inputs, counted.entry);
          if (timer.is_due()) timer.take([&] { checkpoint.save(lists_); });
        });
    if (work_ != nullptr) checkpoint.save(lists_);
  }

  PreparationCost plan() {
    planner_.choose_residency();
    planner_.fit_disk_budget(request_.disk_budget_bytes, read_gap(dataset_, request_));
    PreparationCost cost = planner_.cost();
    const SharedLayout* shared = planner_.shared();
    cost.packing_scans = shared == nullptr ? count_scans(schedule_.size(), packing_memory()) : 1;
    if (shared != nullptr) {
      const RegionShape shape = choose_region_shape(*shared, dataset_.info().row_bytes(), packing_memory());
      cost.reordered_bytes = shape.is_in_memory ? 0 : shared->region_offsets.back();
      cost.packing_scratch_bytes = shape.scratch_bytes();
    }
    foresee_seconds(cost);
    return cost;
  }
  void explore(const std::function<void(const BudgetChoice&)>& show) const {
    explore_budgets(dataset_, request_.options, schedule_, lists_, counts_, read_gap(dataset_, request_),
                    show);
  }

  // Removes what an earlier run wrote to another plan.
  void settle_plan() {
    const std::vector<std::uint64_t> plan = planner_.checksums();
    auto saved = CheckpointReader::open(work_->folder() / plan_checkpoint_name, made_from_);
    if (saved && saved->rest() == plan) return;
    work_->remove_planned_files();
    write_checkpoint(work_->folder() / plan_checkpoint_name, made_from_, plan);
  }

  // The second pass: samples again, planned this time.
  void write_samples() {
    if (work_->has(pool_file_name)) return end_sampling();
    start_sampler();
    PlannedSampling sampling(dataset_, planner_, lists_, taken_up_, pool_.thread_count());
    const auto writer = open_samples();
    const std::size_t begin = writer->entries().size();
    Progress progress("writing samples", schedule_.size(), Progress::Unit::items);
    progress.advance(begin);
    CheckpointTimer timer(request_.checkpoint_seconds);
    in_order<CompressedBatch>(
        begin, schedule_.size(), pool_,
        [&](std::size_t index, std::size_t worker, CompressedBatch& compressed) {
          sampling.make(*sampler_, index, worker, compressed);
        },
        [&](std::size_t index, CompressedBatch& compressed) {
          GNEISS_ASSERT(compressed.entry.page_rows + compressed.entry.disk_rows ==
                        planner_.rows()[index].disk_rows);
          writer->append(compressed);
          ++sampled_batches_;
          progress.advance(1);
          if (timer.is_due()) timer.take([&] { save_samples(*writer); });
        });
    writer->finish();
    end_sampling();
  }

  PackResult pack() {
    if (work_->has(pack_file_name)) return {};
    const std::vector<BatchKey> keys = planner_.batch_keys();
    const PackTask task{.dataset = &dataset_,
                        .lists = &lists_,
                        .plan = &planner_.tiers(),
                        .keys = keys,
                        .rows = planner_.rows(),
                        .folder = work_->folder(),
                        .memory_bytes = packing_memory(),
                        .checkpoint_seconds = request_.checkpoint_seconds,
                        .made_from = made_from_};
    return planner_.shared() != nullptr ? pack_shared_features(task, *planner_.shared(), pool_)
                                        : pack_features(task, pool_);
  }

  PreparationInfo info() const {
    return {.options = request_.options,
            .dataset_fingerprint = dataset_.fingerprint(),
            .train_batches_per_epoch = schedule_.train_batches_per_epoch(),
            .planned = planner_.residency(),
            .has_gpu_tier = !planner_.tiers().gpu_nodes.empty()};
  }

  void free_counts() { counts_ = {}; }

 private:
  // What is still to be done: samples, by the first batches made as the second pass makes them; and packing.
  void foresee_seconds(PreparationCost& cost) {
    const double samples = foresee_samples();
    cost.sampling_seconds = samples;
    const auto drive = stored_drive_profile(dataset_);
    if (!drive || drive->write_bytes_per_second <= 0) return;
    const SharedLayout* shared = planner_.shared();
    const std::uint64_t row_bytes = dataset_.info().row_bytes();
    std::uint64_t rows = 0;
    for (const BatchRows& batch : planner_.rows()) rows += batch.disk_rows;
    if (shared != nullptr) rows = shared->region_offsets.back() / row_bytes;
    cost.packing_seconds =
        packing_seconds(measure_packing_speed(dataset_, pool_.thread_count(), packing_memory()), *drive,
                        {.feature_bytes = cost.packing_scans * cost.node_count * row_bytes,
                         .row_count = rows,
                         .row_bytes = row_bytes,
                         .written_bytes = cost.segment_bytes + cost.gpu_tier_bytes + cost.cpu_tier_bytes,
                         .reordered_bytes = cost.reordered_bytes,
                         .is_filled_in_memory = shared != nullptr && cost.reordered_bytes == 0});
  }
  double foresee_samples() {
    if (work_ != nullptr && work_->has(pool_file_name)) return 0;
    start_sampler();
    PlannedSampling sampling(dataset_, planner_, lists_, taken_up_, pool_.thread_count());
    const std::size_t count = std::min(pool_.thread_count(), schedule_.size());
    std::vector<CompressedBatch> made(count);
    const Stopwatch clock;
    pool_.parallel_for(
        count, [&](std::size_t i, std::size_t worker) { sampling.make(*sampler_, i, worker, made[i]); });
    const double seconds = clock.seconds();
    double work_done = 0;
    double work_in_all = 0;
    for (std::size_t i = 0; i < schedule_.size(); ++i) {
      const BatchEntry& entry = counts_.entries[i];
      const double work = 1.0 + entry.edge_count + entry.input_count;
      work_in_all += work;
      if (i < count) work_done += work;
    }
    return seconds * work_in_all / work_done;
  }

  // What the plan leaves the packer: slots, nodes and moves are held.
  std::uint64_t packing_memory() const {
    const TierPlan& tiers = planner_.tiers();
    const std::uint64_t held =
        4 * dataset_.info().node_count + 4 * tiers.gpu_nodes.size() + 8 * std::uint64_t{tiers.slot_count};
    return request_.memory_bytes - std::min(request_.memory_bytes, held);
  }

  void start_sampler() {
    if (sampler_) return;
    const SamplerOptions options = sampler_options(request_.options);
    if (memory_.in_memory) {
      sampler_ = std::make_unique<MemorySampler>(dataset_, schedule_, options, pool_.thread_count());
      return;
    }
    auto sweep =
        std::make_unique<SweepSampler>(dataset_, schedule_,
                                       SweepOptions{.sampler = options,
                                                    .memory_bytes = memory_.sweep_bytes,
                                                    .graph = sweep_options(dataset_.info()),
                                                    .work_folder = work_ == nullptr ? "" : work_->folder(),
                                                    .made_from = made_from_},
                                       pool_);
    sweep_waves_ = sweep->wave_count();
    graph_bytes_read_ = sweep->bytes_read();
    sampler_ = std::move(sweep);
  }

  // The samples are whole: the packer's pieces take the topology's place, and its files the batches'.
  void end_sampling() {
    sampler_.reset();
    work_->remove(batches_checkpoint_name);
    work_->remove(batches_work_name);
  }

  std::unique_ptr<SamplePoolWriter> open_samples() {
    const auto path = work_->folder() / pool_file_name;
    if (auto saved = CheckpointReader::open(work_->folder() / samples_checkpoint_name, made_from_)) {
      try {
        auto writer = std::make_unique<SamplePoolWriter>(path, dataset_.fingerprint(), *saved);
        if (writer->entries().size() <= schedule_.size()) return writer;
      } catch (const Error& error) {
        if (error.kind() != Kind::corruption) throw;
      }
    }
    work_->remove(samples_checkpoint_name);
    return std::make_unique<SamplePoolWriter>(path, dataset_.fingerprint(), Unfinished::keep);
  }

  void save_samples(SamplePoolWriter& writer) const {
    std::vector<std::uint64_t> numbers;
    writer.save(numbers);
    write_checkpoint(work_->folder() / samples_checkpoint_name, made_from_, numbers);
  }

  void count_accesses(std::span<const NodeId> nodes) {
    for (const NodeId node : nodes) {
      std::atomic_ref(counts_.accesses[to_index(node)]).fetch_add(1, std::memory_order_relaxed);
    }
  }

  Dataset& dataset_;
  const PrepareRequest& request_;
  ThreadPool& pool_;
  const SamplingMemory memory_;
  const PreparationInWork* work_;
  const std::uint64_t made_from_;
  BatchSchedule schedule_;
  std::unique_ptr<BatchSampler> sampler_;  // while batches are sampled; given back before packing
  std::uint32_t sweep_waves_ = 0;
  std::uint64_t graph_bytes_read_ = 0;
  std::uint64_t sampled_batches_ = 0;
  InputLists lists_;
  std::size_t taken_up_ = 0;  // of the lists
  BatchCounts counts_;
  PreparationPlanner planner_;
};

void check_space(const PreparationCost& cost, std::uint64_t disk_budget_bytes) {
  const std::uint64_t needed = cost.disk_space_bytes();
  if (disk_budget_bytes > 0 && needed > disk_budget_bytes) {
    fail(Kind::config,
         "--disk-budget {} is too little: the preparation takes up to {}; give more, cache more with "
         "--cpu-cache, or "
         "lower --sample-epochs",
         format_bytes(static_cast<double>(disk_budget_bytes)), format_bytes_up(needed));
  }
  if (needed + cost.packing_scratch_bytes > cost.free_bytes) {
    fail(
        Kind::io,
        "no space left: the preparation takes up to {}, {} are free; free some, cache more with --cpu-cache, "
        "or lower --sample-epochs",
        format_bytes(static_cast<double>(needed + cost.packing_scratch_bytes)),
        format_bytes(static_cast<double>(cost.free_bytes)));
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
  // Its files are there, and of this dataset.
  const Preparation sealed = Preparation::open(dataset, request.name);
  if (request.disk_budget_bytes > 0 && sealed.bytes() > request.disk_budget_bytes) {
    fail(Kind::config,
         "preparation '{}' exists and takes {}, more than --disk-budget {}; pass --force to make it anew",
         request.name, format_bytes_up(sealed.bytes()),
         format_bytes(static_cast<double>(request.disk_budget_bytes)));
  }
  return true;
}

// All that the files of a preparation depend on.
nlohmann::json made_from(const Dataset& dataset, const PrepareRequest& request) {
  constexpr int version = 4;  // raised when the same options give other files, or another work in between
  return {{"version", version},
          {"dataset_fingerprint", dataset.fingerprint()},
          {"options", to_json(request.options)},
          {"disk_budget_bytes", request.disk_budget_bytes},
          {"read_gap_bytes", request.disk_budget_bytes > 0 ? read_gap(dataset, request) : 0}};
}

void plan(Preparer& preparer, const PrepareRequest& request, const PreparationInWork* work,
          PrepareResult& result, const std::function<void(const PreparationCost&)>& show_plan) {
  const Stopwatch clock;
  preparer.count();
  result.cost = preparer.plan();
  if (work != nullptr) result.cost.free_bytes += work->bytes_of_files();
  result.sampling_seconds = clock.seconds();
  result.sweep_waves = preparer.sweep_waves();
  result.graph_bytes_read = preparer.graph_bytes_read();
  show_plan(result.cost);
  if (request.dry_run && request.explore_budgets) preparer.explore(request.explore_budgets);
  preparer.free_counts();
}

// From what is in the folder to the sealed preparation.
void make(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool, const SamplingMemory& memory,
          PreparationInWork& work, PrepareResult& result,
          const std::function<void(const PreparationCost&)>& show_plan) {
  Preparer preparer(dataset, request, pool, memory, &work);
  plan(preparer, request, &work, result, show_plan);
  check_space(result.cost, request.disk_budget_bytes);
  preparer.settle_plan();
  const Stopwatch clock;
  preparer.write_samples();
  result.sampling_seconds += clock.seconds();
  result.sampled_batches = preparer.sampled_batches();
  const PackResult packed = preparer.pack();
  result.packing_seconds = packed.seconds;
  result.scans = packed.scans;
  result.bytes_read = packed.bytes_read;
  work.seal(preparer.info());
}

}  // namespace

PrepareResult prepare(Dataset& dataset, const PrepareRequest& request, ThreadPool& pool,
                      const std::function<void(const PreparationCost&)>& show_plan) {
  check_request(request);
  PrepareResult result;
  const nlohmann::json from = made_from(dataset, request);
  // What a kill left half sealed with this request is done, also with --force.
  const bool is_sealed = !request.dry_run && PreparationInWork::finish_sealing(dataset, request.name, from);
  if (is_sealed) static_cast<void>(Preparation::open(dataset, request.name));
  if (is_sealed || is_already_done(dataset, request)) {
    if (!request.dry_run) PreparationInWork::discard(dataset, request.name);
    result.already_done = true;
    return result;
  }
  const SamplingMemory memory = plan_memory(dataset, request, pool);
  if (request.dry_run) {
    Preparer preparer(dataset, request, pool, memory, nullptr);
    plan(preparer, request, nullptr, result, show_plan);
    check_space(result.cost, request.disk_budget_bytes);
    return result;
  }
  check_unused(dataset, request);
  PreparationInWork work(dataset, request.name, from);
  result.went_on_after = work.progress();
  if (!result.went_on_after.empty()) {
    spdlog::info("preparation '{}': going on after {}", request.name, result.went_on_after);
  }
  try {
    make(dataset, request, pool, memory, work, result, show_plan);
  } catch (const Error& error) {
    if (work.is_sealing()) {
      fail(error.kind(), "{}; the preparation is made: the same command puts it in its place", error.what());
    }
    // Work is kept where the same command can go on with it; what is refused or damaged would be so again.
    const bool is_kept =
        (error.kind() == Kind::io || error.kind() == Kind::cancelled) && !work.progress().empty();
    if (!is_kept) {
      PreparationInWork::discard(dataset, request.name);
      throw;
    }
    if (error.kind() == Kind::cancelled) {
      fail(Kind::cancelled,
           "interrupted; what is done is kept in {}: run the same command again, and it goes on",
           work.folder().string());
    }
    fail(error.kind(), "{}; what is done is kept in {}: the same command goes on with it", error.what(),
         work.folder().string());
  }
  const Preparation sealed = Preparation::open(dataset, request.name);
  result.packed_bytes = sealed.bytes();
  result.samples_bytes = sealed.pool().file().file_bytes();
  return result;
}

}  // namespace gneiss
