// Any cache, budget, queue depth, reader and number of threads over a drive that misbehaves: a run ends
// with the numbers of the plain one or with the error that says why. A deadlock is a failure.
//
// GNEISS_STRESS_SEED in the environment repeats the configuration of one seed.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/trainer.h"
#include "storage/base/random.h"
#include "storage/import/generator.h"
#include "storage/io/cores.h"
#include "tests/engine/prepared_dataset.h"
#include "tests/support/captured_log.h"
#include "tests/support/faulty_core.h"
#include "tests/support/watchdog.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::chrono::seconds deadlock_after{300};  // a run takes 30 ms, under a sanitizer seconds
// A preparation takes longer than a run: neighboring seeds share one.
constexpr std::uint64_t runs_per_preparation = 4;

struct Left : std::runtime_error {
  Left() : std::runtime_error("left") {}
};

struct Configuration {
  std::size_t threads = 1;
  bool shuffles = true;
  bool leaves = false;  // after the first epoch, with reads in flight
  std::uint32_t slot_count = 1;
  std::string engine{};
  std::uint32_t queue_depth = 1;
  std::uint32_t read_bytes = 4096;
  bool direct = true;
  bool verifies = true;
  Faults faults{};
};

Configuration draw_configuration(std::uint64_t seed, bool may_shuffle) {
  RandomStream random(mix64(seed));
  const auto chance = [&](double share) { return random.uniform() < share; };
  Configuration drawn;
  drawn.threads = 1 + random.below(4);
  drawn.shuffles = may_shuffle && chance(0.5);
  drawn.leaves = chance(0.15);
  drawn.slot_count = static_cast<std::uint32_t>(1 + random.below(8));
  constexpr std::array<const char*, 3> engines{"io_uring", "pread", "mmap"};
  drawn.engine = engines.at(random.below(engines.size()));
  drawn.queue_depth = static_cast<std::uint32_t>(chance(0.3) ? 1 + random.below(2) : 1 + random.below(128));
  drawn.read_bytes = 4096U << random.below(9);
  drawn.direct = chance(0.7);
  drawn.verifies = chance(0.8);
  drawn.faults.seed = seed;
  if (chance(0.2)) return drawn;
  // A quarter of the transfers at most: 16 tries in a row fail once in 10^9 requests.
  drawn.faults.interrupted = 0.08 * random.uniform();
  drawn.faults.again = 0.08 * random.uniform();
  drawn.faults.short_reads = 0.09 * random.uniform();
  drawn.faults.late = 0.7 * random.uniform();
  if (chance(0.35)) drawn.faults.errors = 0.03 * random.uniform();
  if (chance(0.1)) {
    drawn.faults.stalls = 0.1;
    drawn.faults.stall_time = std::chrono::milliseconds(20 + random.below(80));
    drawn.faults.stalls_max = 3;
  }
  return drawn;
}

std::string describe(std::uint64_t seed, const Configuration& c) {
  return fmt::format(
      "seed {}: {} threads, shuffle {}, leaves {}, {} slots, {}, depth {}, reads of {}, direct {}, verify "
      "{}, "
      "faults: EINTR {:.3f}, EAGAIN {:.3f}, short {:.3f}, EIO {:.3f}, late {:.3f}, stalls {:.3f}",
      seed, c.threads, c.shuffles, c.leaves, c.slot_count, c.engine, c.queue_depth, c.read_bytes, c.direct,
      c.verifies, c.faults.interrupted, c.faults.again, c.faults.short_reads, c.faults.errors, c.faults.late,
      c.faults.stalls);
}

std::unique_ptr<IoCore> make_inner_core(const std::string& name, std::uint32_t depth) {
  if (name == "mmap") return make_mmap_core(depth);
  if (name == "pread") return make_pread_core(depth);
  try {
    return make_uring_core(depth);
  } catch (const Error&) {
    return make_pread_core(depth);  // refused here; other tests say so
  }
}

// A small generated graph, prepared plainly and in a way of chance for each few seeds.
class StressedGraph {
 public:
  StressedGraph() {
    GeneratorOptions graph;
    graph.graph.node_count = 400;
    graph.graph.average_degree = 6;
    graph.graph.feature_dim = 100;
    graph.graph.class_count = 4;
    graph.train_share = 0.5;
    graph.valid_share = 0.1;
    graph.test_share = 0.1;
    graph.memory_bytes = 64U << 20;
    generate_dataset(graph, folder_ / "d.gneiss");
  }

  // Prepares what `seed` needs, unless the seed before needed the same. Returns whether batches may be
  // shuffled.
  bool prepare_for(std::uint64_t seed) {
    const std::uint64_t group = seed / runs_per_preparation;
    if (group == prepared_) return may_shuffle_;
    prepared_ = group;
    expected_.clear();
    dataset_.reset();
    RandomStream random(mix64(group ^ 0x5EED));
    PreparationOptions plain;
    plain.fanouts = {static_cast<std::int32_t>(1 + random.below(5)),
                     static_cast<std::int32_t>(1 + random.below(5))};
    plain.batch_size = static_cast<std::uint32_t>(10 + random.below(60));
    plain.sample_epochs = static_cast<std::uint32_t>(1 + random.below(2));
    plain.seed = group;
    PreparationOptions drawn = plain;
    constexpr std::uint64_t row_bytes = 400;
    drawn.cpu_cache_bytes =
        random.uniform() < 0.15 ? 1U << 20 : random.below(random.uniform() < 0.5 ? 40 : 400) * row_bytes;
    constexpr std::array<Residency, 3> residencies{Residency::fixed, Residency::belady, Residency::automatic};
    drawn.residency = residencies.at(random.below(residencies.size()));
    if (random.uniform() < 0.5) drawn.gpu_cache_bytes = random.below(200) * row_bytes;
    prepare_dataset(folder_ / "d.gneiss", "plain", plain);
    prepare_dataset(folder_ / "d.gneiss", "drawn", drawn);
    if (random.uniform() < 0.5) share_rows(drawn);
    dataset_ = std::make_unique<Dataset>(Dataset::open(folder_ / "d.gneiss"));
    const Preparation preparation = Preparation::open(*dataset_, "drawn");
    may_shuffle_ = preparation.info().planned != Residency::belady;
    return may_shuffle_;
  }

  RunResult train(const std::string& preparation_name, const Configuration& c,
                  const PipelineOptions& pipeline) const {
    const Preparation preparation = Preparation::open(*dataset_, preparation_name);
    ThreadPool pool(c.threads);
    const auto backend = make_cpu_backend(pool);
    const HostGpuTier gpu_tier(preparation);
    CpuTier cpu_tier(preparation);
    TrainOptions options;
    options.hidden = 8;
    options.schedule.epochs = 3;
    options.schedule.seed = 5;
    options.schedule.shuffle = c.shuffles;
    options.memory_bytes = 1ULL << 30;
    options.pipeline = pipeline;
    options.pipeline.gpu_tier = gpu_tier.base();
    options.pipeline.pool = &pool;
    return gneiss::train(*dataset_, preparation, cpu_tier, options, *backend, [&](const EpochResult&) {
      if (c.leaves) throw Left();
    });
  }

  // By one thread, with no cache and nothing ahead.
  const RunResult& expected(bool shuffles) {
    if (const auto found = expected_.find(shuffles); found != expected_.end()) return found->second;
    const Configuration plain{.shuffles = shuffles};
    return expected_[shuffles] = train(
               "plain", plain, {.slot_count = 1, .io_engine = "pread", .queue_depth = 1, .direct = false});
  }

  std::size_t shared_count() const noexcept { return shared_; }

 private:
  // With a budget that segments of their own do not fit in, where any sharing does.
  void share_rows(const PreparationOptions& options) {
    std::uint64_t bytes = 0;
    {
      const Dataset dataset = Dataset::open(folder_ / "d.gneiss");
      bytes = Preparation::open(dataset, "drawn").bytes();
    }
    // Where rows are shared at all, the file is smaller; how much it can be depends on the batches.
    for (const std::uint64_t percent : {70U, 80U, 90U, 97U}) {
      try {
        prepare_dataset(folder_ / "d.gneiss", "drawn", options, bytes * percent / 100);
        ++shared_;
        return;
      } catch (const Error& error) {
        CHECK_MESSAGE(error.kind() == Kind::config, std::string(error.what()));
      }
    }
  }

  TemporaryFolder folder_;
  std::unique_ptr<Dataset> dataset_;
  std::uint64_t prepared_ = ~0ULL;
  bool may_shuffle_ = true;
  std::size_t shared_ = 0;
  std::map<bool, RunResult> expected_;
};

struct Ends {
  std::size_t equal = 0;
  std::size_t failed = 0;
  std::size_t left = 0;
};

void run_one(StressedGraph& graph, std::uint64_t seed, Ends& ends) {
  const Configuration c = draw_configuration(seed, graph.prepare_for(seed));
  const std::string what = describe(seed, c);
  CAPTURE(what);
  const RunResult& expected = graph.expected(c.shuffles);
  const Watchdog watchdog(what, deadlock_after);
  PipelineOptions pipeline{.slot_count = c.slot_count, .read_bytes = c.read_bytes};
  pipeline.assembly.verify_segments = c.verifies;
  pipeline.make_engine = [&c, made = std::uint64_t{0}]() mutable {
    Faults faults = c.faults;
    faults.seed += 1'000'003 * made++;
    return std::make_unique<IoEngine>(
        std::make_unique<FaultyCore>(make_inner_core(c.engine, c.queue_depth), faults),
        IoOptions{.queue_depth = c.queue_depth, .direct = c.direct});
  };
  try {
    const RunResult run = graph.train("drawn", c, pipeline);
    CHECK(run.step_losses == expected.step_losses);
    CHECK(run.valid_score == expected.valid_score);
    CHECK(run.test == expected.test);
    ++ends.equal;
  } catch (const Left&) {
    ++ends.left;
  } catch (const Error& error) {
    const std::string sentence = error.what();
    const auto says = [&](const char* part) { return sentence.find(part) != std::string::npos; };
    CHECK_MESSAGE((error.kind() == Kind::io && c.faults.errors > 0), sentence);
    CHECK_MESSAGE((says(pool_file_name) || says(pack_file_name)), sentence);
    CHECK_MESSAGE((says("at offset ") && says("(while reading ")), sentence);
    ++ends.failed;
  }
}

}  // namespace

TEST_CASE(
    "any settings over a drive that misbehaves: the plain run's numbers, or the error that names the place") {
  const CapturedLog quiet;
  StressedGraph graph;
  Ends ends;
  if (const char* only = std::getenv("GNEISS_STRESS_SEED")) {
    run_one(graph, std::strtoull(only, nullptr, 10), ends);
    return;
  }
  const std::uint64_t count = std::getenv("GNEISS_TORTURE") != nullptr ? 4000 : 60;
  for (std::uint64_t seed = 0; seed < count; ++seed) run_one(graph, seed, ends);
  MESSAGE(count, " configurations, ", faults_struck.load(), " faults: ", ends.equal,
          " with the plain run's numbers, ", ends.failed, " with the drive's error, ", ends.left,
          " left in the middle; ", graph.shared_count(), " of ", count / runs_per_preparation,
          " preparations share rows");
  CHECK(ends.equal > count / 2);
  CHECK(ends.failed > count / 20);
  CHECK(ends.left > 0);
  CHECK(graph.shared_count() > 0);
}
