// The ladder of strategies: the input rows of the same sampled batches, brought from the drive in each way.
//
//   build/release/bench_ladder --dataset D --preparation P --strategy lru --cpu-cache 100MiB --batches 20
//   --warm-up 20
//
// One strategy a process, so that a control group holds exactly one (bench/ladder.py runs them all).
// `diskgnn` and `gneiss` read the segments of the preparation named; what sets them apart is how it was
// prepared (--residency).
//
// Amplification is bytes read over the bytes of those rows that did not come from memory. Time is that of the
// window; per epoch it is scaled by rows.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/ladder/cached_rows.h"
#include "bench/ladder/lru_cache.h"
#include "bench/ladder/mapped_rows.h"
#include "bench/ladder/measure.h"
#include "bench/ladder/memory_rows.h"
#include "bench/ladder/min_cache.h"
#include "bench/ladder/train_window.h"
#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/memory_limit.h"
#include "storage/base/units.h"
#include "tools/summary.h"

namespace gneiss::ladder {
namespace {

struct Options {
  std::string dataset;
  std::string preparation;
  std::string strategy;
  std::string cpu_cache = "0";
  std::string order = "ascending";
  std::string gap = "4KiB";
  std::string read_size = "64KiB";
  std::string engine = "auto";
  std::string scratch;
  std::string summary;
  std::uint32_t queue_depth = 0;
  std::size_t readers = 1;
  std::size_t gather_threads = 16;
  bool advise_random = true;
  bool verify = false;
  bool train = false;
  std::uint32_t hidden = 128;
  std::uint32_t prefetch = 2;
  Window window;
};

bool reads_segments(const std::string& strategy) { return strategy == "diskgnn" || strategy == "gneiss"; }

std::unique_ptr<RowSource> make_source(const Options& options, const RowFile& file, const RowLists& lists) {
  if (options.strategy == "mmap") {
    return std::make_unique<MappedRows>(
        file, MappedOptions{.threads = options.gather_threads, .advise_random = options.advise_random});
  }
  if (options.strategy == "memory") return std::make_unique<MemoryRows>(file, available_cores());
  CachedRowsOptions cached{.cache_rows = parse_bytes(options.cpu_cache, "--cpu-cache") / file.row_bytes,
                           .batch_rows_max = lists.row_count_max(),
                           .readers = options.readers,
                           .threads = available_cores(),
                           .reader = {}};
  cached.reader.engine = options.engine;
  if (options.queue_depth > 0) cached.reader.queue_depth = options.queue_depth;
  cached.reader.coalesce = {.gap_bytes = parse_bytes(options.gap, "--gap"),
                            .read_bytes_max = parse_bytes(options.read_size, "--read-size")};
  std::unique_ptr<CachePolicy> policy;
  if (options.strategy == "lru") {
    policy = std::make_unique<LruCache>(file.row_count, cached.cache_rows);
  } else {
    const std::string folder = options.scratch.empty() ? options.dataset : options.scratch;
    policy = std::make_unique<MinCache>(lists, options.window.positions(), file.row_count, cached.cache_rows,
                                        folder);
  }
  return std::make_unique<CachedRows>(file, std::move(policy), cached);
}

nlohmann::json to_json(const Measurement& measured, std::uint64_t row_bytes, std::uint64_t rows_per_epoch) {
  const DeliveryCost& cost = measured.cost;
  const double missing_bytes = static_cast<double>((cost.rows - cost.rows_from_cache) * row_bytes);
  const double scale = static_cast<double>(rows_per_epoch) / static_cast<double>(measured.input_rows);
  const auto scaled = [&](std::uint64_t value) { return static_cast<double>(value) * scale; };
  return {{"input_rows", measured.input_rows},
          {"input_bytes", measured.input_rows * row_bytes},
          {"rows_from_cache", cost.rows_from_cache},
          {"read_operations", cost.reads},
          {"bytes_read", cost.bytes},
          {"read_amplification", missing_bytes > 0 ? static_cast<double>(cost.bytes) / missing_bytes : 0},
          {"read_seconds", measured.seconds},
          {"cpu_seconds", measured.cpu_seconds},
          {"copy_seconds", cost.copy_seconds},
          {"batch_seconds", measured.batch_seconds},
          {"epoch_scale", scale},
          {"epoch_input_rows", rows_per_epoch},
          {"epoch_bytes_read", scaled(cost.bytes)},
          {"epoch_read_operations", scaled(cost.reads)},
          {"epoch_rows_from_cache", scaled(cost.rows_from_cache)},
          {"epoch_read_seconds", measured.seconds * scale}};
}

// The epoch instead of the read stage: the same source, training while it reads.
void run_training(const Options& options, const Dataset& dataset, const Preparation& preparation,
                  const RowLists& lists, RowSource& source) {
  ThreadPool pool(available_cores());
  const TrainedWindow trained =
      train_window(dataset, preparation, lists, source, options.window,
                   {.hidden = options.hidden, .slot_count = options.prefetch}, pool);
  const double rows_per_epoch =
      static_cast<double>(lists.total_rows()) / preparation.info().options.sample_epochs;
  const double scale = rows_per_epoch / static_cast<double>(trained.input_rows);
  fmt::print("{}, training: {} batches in {}, {} of it waiting\n", options.strategy, options.window.batches,
             format_seconds(trained.seconds), format_seconds(trained.starved_seconds));
  write_summary(options.summary, {{"command", "ladder"},
                                  {"strategy", options.strategy},
                                  {"batches", options.window.batches},
                                  {"warm_up_batches", options.window.warm_up},
                                  {"input_rows", trained.input_rows},
                                  {"train_seconds", trained.seconds},
                                  {"starved_seconds", trained.starved_seconds},
                                  {"epoch_seconds", trained.seconds * scale},
                                  {"epoch_starved_seconds", trained.starved_seconds * scale},
                                  {"step_losses", trained.losses},
                                  {"memory_limit_bytes", control_group_limit()},
                                  {"peak_memory_bytes", peak_resident_bytes()}});
}

void run(Options options) {
  const Dataset dataset = Dataset::open(options.dataset);
  const Preparation preparation = Preparation::open(dataset, options.preparation);
  const RowFile file = row_file_of(dataset);
  const RowLists lists(preparation.pool(),
                       options.order == "ascending" ? RowOrder::ascending : RowOrder::scattered);
  if (options.window.batches == 0) options.window.batches = lists.batch_count();
  File::open_for_reading(file.path).drop_cache();
  const std::uint32_t pool_epochs = preparation.info().options.sample_epochs;
  Measurement measured;
  nlohmann::json parameters;
  std::uint64_t disk_bytes = 0;
  if (reads_segments(options.strategy)) {
    SegmentOptions segments{.engine = options.engine};
    if (options.queue_depth > 0) segments.queue_depth = options.queue_depth;
    measured = measure_segments(preparation, options.window, segments, interrupt_token());
    parameters = {{"preparation", options.preparation},
                  {"queue_depth", segments.queue_depth},
                  {"read_bytes_max", segments.piece_bytes},
                  {"cache_rows", preparation.gpu_row_count() + preparation.cpu_row_count()}};
    disk_bytes = preparation.bytes();
  } else {
    const auto source = make_source(options, file, lists);
    if (options.train) return run_training(options, dataset, preparation, lists, *source);
    measured = measure_rows(*source, lists, file, options.window, options.verify, interrupt_token());
    parameters = source->describe();
    disk_bytes = source->disk_bytes();
  }
  nlohmann::json summary = to_json(measured, file.row_bytes, lists.total_rows() / pool_epochs);
  summary["command"] = "ladder";
  summary["strategy"] = options.strategy;
  summary["order"] = options.order;
  summary["parameters"] = parameters;
  summary["batches"] = options.window.batches;
  summary["warm_up_batches"] = options.window.warm_up;
  summary["batches_per_epoch"] = lists.batch_count() / pool_epochs;
  summary["row_bytes"] = file.row_bytes;
  summary["feature_bytes"] = file.row_count * file.row_bytes;
  summary["disk_bytes"] = disk_bytes;
  summary["memory_limit_bytes"] = control_group_limit();
  summary["peak_memory_bytes"] = peak_resident_bytes();
  fmt::print(
      "{}: {} batches, {} rows, {:.1f} % from cache; {} in {} reads, amplification {:.2f}; {} = {} a batch, "
      "{:.2f} CPU s\n",
      options.strategy, options.window.batches, format_count(measured.input_rows),
      100.0 * static_cast<double>(measured.cost.rows_from_cache) / static_cast<double>(measured.input_rows),
      format_bytes(static_cast<double>(measured.cost.bytes)), format_count(measured.cost.reads),
      summary["read_amplification"].get<double>(), format_seconds(measured.seconds),
      format_seconds(measured.seconds / static_cast<double>(options.window.batches)), measured.cpu_seconds);
  write_summary(options.summary, summary);
}

int run_command_line(int argc, char** argv) {
  Options options;
  CLI::App app("The input rows of the same batches, brought by one strategy");
  app.add_option("--dataset", options.dataset, "The dataset's folder")->required();
  app.add_option("--preparation", options.preparation,
                 "Whose batches; for diskgnn and gneiss, whose segments")
      ->required();
  app.add_option("--strategy", options.strategy, "mmap, lru, ginex, diskgnn, gneiss or memory")
      ->required()
      ->check(CLI::IsMember({"mmap", "lru", "ginex", "diskgnn", "gneiss", "memory"}));
  app.add_option("--cpu-cache", options.cpu_cache, "Bytes of rows that lru and ginex cache");
  app.add_option("--batches", options.window.batches, "Batches on the clock; 0: all of the pool");
  app.add_option("--warm-up", options.window.warm_up, "Batches before them, off the clock");
  app.add_option("--order", options.order,
                 "Of a batch's rows: ascending (what lru and ginex need) or scattered (PyG)")
      ->check(CLI::IsMember({"ascending", "scattered"}));
  app.add_option("--gap", options.gap, "lru, ginex: rows no further apart are read together");
  app.add_option("--read-size", options.read_size, "lru, ginex: bytes of a merged read at most");
  app.add_option("--queue-depth", options.queue_depth, "Reads in flight; default 256, for segments 32");
  app.add_option("--readers", options.readers, "lru, ginex: threads that read, a ring each")
      ->check(CLI::Range(1, 16));
  app.add_option("--gather-threads", options.gather_threads, "mmap: threads")->check(CLI::Range(1, 256));
  app.add_flag("!--no-advice", options.advise_random, "mmap: leave the kernel's readahead on");
  app.add_option("--io", options.engine, "auto, io_uring or pread");
  app.add_option("--scratch", options.scratch, "Folder for the plans of ginex; default: the dataset's");
  app.add_flag("--verify", options.verify, "Compare every row with the feature file, off the clock");
  app.add_flag("--train", options.train, "Train on the batches (SAGE) instead of only bringing their rows");
  app.add_option("--hidden", options.hidden, "--train: columns of each hidden layer");
  app.add_option("--prefetch", options.prefetch, "--train: batches in flight")->check(CLI::Range(2, 64));
  add_summary_option(app, options.summary);
  CLI11_PARSE(app, argc, argv);
  if (options.order == "scattered" && (options.strategy == "lru" || options.strategy == "ginex")) {
    fail(Kind::config, "{} reads rows in ascending order; leave --order out", options.strategy);
  }
  if (options.train && reads_segments(options.strategy)) {
    fail(Kind::config, "{} is trained by 'gneiss train'; leave --train out", options.strategy);
  }
  run(options);
  return 0;
}

}  // namespace
}  // namespace gneiss::ladder

int main(int argc, char** argv) {
  try {
    gneiss::install_signal_handlers();
    return gneiss::ladder::run_command_line(argc, argv);
  } catch (const gneiss::Error& error) {
    fmt::print(stderr, "bench_ladder: {}\n", error.what());
    return gneiss::exit_code(error.kind());
  }
}
