// How far an earlier run of prepare says to have come, beside the files that it speaks of.
//
// Input: whose numbers they are, then the checkpoint.
#include <cstring>
#include <optional>

#include "sampler/batch_scratch.h"
#include "sampler/count_checkpoint.h"
#include "sampler/preparation_in_work.h"
#include "sampler/topology.h"
#include "storage/base/checksum.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/prepared_files.h"

namespace gneiss::test {
namespace {

enum class Step : std::uint8_t { samples, batches, counts };
constexpr std::size_t step_count = 3;

class EarlierRun {
 public:
  EarlierRun() {
    std::filesystem::create_directories(folder());
    write_fuzz_dataset(folder() / "d");
    dataset_.emplace(Dataset::open(folder() / "d"));
    schedule_.emplace(*dataset_, PoolOptions{.batch_size = 16, .sample_epochs = 1, .seed = 3});
    const LoadedTopology topology(*dataset_);
    NeighborSampler sampler(topology.view(), {.fanouts = {3, 2}});
    std::vector<SampledBatch> sampled(schedule_->size());
    for (std::size_t i = 0; i < sampled.size(); ++i)
      sampler.sample(schedule_->key(i), schedule_->seeds(i), sampled[i]);
    save_samples(sampled);
    save_batches(sampled);
    save_counts(sampled);
  }
  static std::filesystem::path folder() { return fuzz_folder() / "checkpoint"; }
  static std::filesystem::path path(const char* name) { return folder() / name; }
  const Dataset& dataset() const { return *dataset_; }
  const BatchSchedule& schedule() const { return *schedule_; }
  const std::vector<std::string>& checkpoints() const { return checkpoints_; }
  const std::string& samples() const { return samples_; }

 private:
  void keep(std::span<const std::uint64_t> numbers) {
    write_checkpoint(path("numbers"), dataset_->fingerprint(), numbers);
    checkpoints_.push_back(read_text_file(path("numbers")));
  }
  void save_samples(std::span<const SampledBatch> batches) {
    SamplePoolWriter writer(path(pool_file_name), dataset_->fingerprint(), Unfinished::keep);
    BatchCompressor compressor;
    for (const SampledBatch& batch : batches) {
      const std::span nodes(batch.nodes);
      std::vector<std::uint32_t> rows(batch.blocks.front().dst_count);
      const std::vector<std::int32_t> targets(batch.seed_count);
      const std::vector<PlanRange> plan{{0, Tier::disk, 0, static_cast<std::uint32_t>(nodes.size()), 0}};
      BatchFrame frame{.seeds = nodes.first(batch.seed_count),
                       .targets = targets,
                       .target_seeds = {},
                       .hidden_nodes = nodes.first(rows.size()),
                       .plan = plan,
                       .cpu_slots = {},
                       .admitted_rows = {},
                       .admitted_slots = {},
                       .page_runs = {},
                       .blocks = {}};
      for (const SampledBlock& block : batch.blocks)
        frame.blocks.push_back({block.dst_count, block.src_count, block.indptr, block.indices, {}, {}});
      frame.blocks.front().dst_in_src = rows;
      writer.append(compressor.compress(batch.key, frame, nodes));
    }
    std::vector<std::uint64_t> numbers;
    writer.save(numbers);
    keep(numbers);
    samples_ = read_text_file(path(pool_file_name).string() + ".tmp");
  }
  void save_batches(std::span<const SampledBatch> batches) {
    BatchScratch scratch(File::create(path(batches_work_name)), batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i) scratch.store(i, batches[i]);
    std::vector<std::uint64_t> numbers;
    scratch.save(batches.size(), numbers);
    keep(numbers);
  }
  void save_counts(std::span<const SampledBatch> batches) {
    CountCheckpoint checkpoint(*schedule_, folder(), dataset_->fingerprint());
    InputLists lists(CountCheckpoint::open_lists(folder()));
    for (const SampledBatch& batch : batches) {
      std::vector<NodeId> nodes(batch.nodes);
      std::ranges::sort(nodes);
      BatchEntry entry{};
      entry.key = batch.key;
      entry.input_count = static_cast<std::uint32_t>(nodes.size());
      lists.append(nodes);
      checkpoint.append(nodes, entry);
    }
    checkpoint.save(lists);
    checkpoints_.push_back(read_text_file(path(inputs_checkpoint_name)));
  }

  std::optional<Dataset> dataset_;
  std::optional<BatchSchedule> schedule_;
  std::vector<std::string> checkpoints_;
  std::string samples_;
};

EarlierRun& earlier() {
  static EarlierRun run;
  return run;
}

std::vector<std::string> seeds() {
  std::vector<std::string> inputs;
  for (std::size_t step = 0; step < step_count; ++step)
    inputs.push_back(static_cast<char>(step) + earlier().checkpoints()[step]);
  return inputs;
}

void go_on_with_samples(CheckpointReader& saved) {
  const auto path = EarlierRun::path(pool_file_name);
  put_file(path.string() + ".tmp", earlier().samples());
  SamplePoolWriter writer(path, earlier().dataset().fingerprint(), saved);
  writer.finish();
  const SamplePool pool(path);
  for (const BatchEntry& entry : pool.entries()) pool.read_frame(entry);
}

void go_on_with_batches(CheckpointReader& saved) {
  const BatchSchedule& schedule = earlier().schedule();
  BatchScratch scratch(File::open_existing(EarlierRun::path(batches_work_name)), schedule.size());
  const std::size_t count = scratch.go_on(saved, schedule, earlier().dataset().info().node_count);
  SampledBatch batch;
  for (std::size_t i = 0; i < count; ++i) attempt([&] { scratch.load(i, batch); });
}

void go_on_with_counts() {
  CountCheckpoint checkpoint(earlier().schedule(), EarlierRun::folder(), earlier().dataset().fingerprint());
  InputLists lists(CountCheckpoint::open_lists(EarlierRun::folder()));
  BatchCounts counts;
  counts.accesses.assign(earlier().dataset().info().node_count, 0);
  checkpoint.go_on(lists, counts);
}

void run(std::string_view input) {
  if (input.empty()) return;
  const auto path = EarlierRun::path(inputs_checkpoint_name);
  put_file(path, input.substr(1));
  auto saved = CheckpointReader::open(path, earlier().dataset().fingerprint());
  if (!saved) return;
  switch (static_cast<Step>(static_cast<unsigned char>(input[0]) % step_count)) {
    case Step::samples:
      return go_on_with_samples(*saved);
    case Step::batches:
      return go_on_with_batches(*saved);
    case Step::counts:
      return go_on_with_counts();
  }
}

void seal(std::span<std::byte> input) {
  if (input.size() < 1 + 4 * sizeof(std::uint64_t)) return;
  const auto numbers = input.subspan(1, (input.size() - 1) / sizeof(std::uint64_t) * sizeof(std::uint64_t));
  std::memcpy(numbers.data(), earlier().checkpoints().front().data(), 3 * sizeof(std::uint64_t));
  const std::uint64_t sum = checksum(numbers.first(numbers.size() - sizeof(sum)));
  std::memcpy(numbers.last(sizeof(sum)).data(), &sum, sizeof(sum));
}

// In place: a checkpoint is whole numbers.
std::vector<std::span<std::byte>> parts(std::span<std::byte> input) {
  return {input.subspan(std::min<std::size_t>(input.size(), 1))};
}

}  // namespace

const FuzzTarget checkpoint_target{
    .name = "checkpoint", .seeds = seeds, .run = run, .seal = seal, .parts = parts};

}  // namespace gneiss::test
