#include "sampler/prepare.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/memory_limit.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/format/drive_record.h"
#include "tools/commands.h"
#include "tools/foreseen_memory.h"
#include "tools/option_values.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct PrepareOptions {
  std::string dataset;
  PrepareRequest request;
  std::uint64_t memory_bytes = 0;
  std::size_t threads = 0;
  std::string summary;
};

std::string rows_and_bytes(double rows, double bytes) {
  return fmt::format("{:>14} rows {:>12}", format_count(static_cast<std::uint64_t>(rows)),
                     format_bytes(bytes));
}

// What the drive takes to read an epoch's rows.
double read_seconds(const DriveProfile& drive, const PreparationCost& cost) {
  return drive.read_seconds(static_cast<std::uint64_t>(cost.disk_pieces),
                            static_cast<std::uint64_t>(cost.disk_bytes));
}

// What other budgets would give: a table, printed whole when the last choice is known, below the progress
// bars.
class BudgetPrinter {
 public:
  explicit BudgetPrinter(const Dataset& dataset) : drive_(stored_drive_profile(dataset)) {}

  void show(const BudgetChoice& choice) {
    if (shown_ == 0) add_heading(choice);
    const PreparationCost& cost = choice.cost;
    const bool is_first = shown_ % budget_disk_shares.size() == 0;
    if (is_first)
      table_ += fmt::format("  {:>10}", format_bytes(static_cast<double>(choice.cpu_cache_bytes)));
    std::string cell = format_bytes(cost.disk_bytes);
    if (drive_) cell += fmt::format(" {:>7}", format_seconds(read_seconds(*drive_, cost)));
    const double space = static_cast<double>(cost.disk_space_bytes());
    table_ += fmt::format("  {:>33}", choice.fits ? fmt::format("{}, takes {:>10}", cell, format_bytes(space))
                                                  : "does not fit");
    if (++shown_ % budget_disk_shares.size() == 0) table_ += "\n";
    if (shown_ == budget_cache_shares.size() * budget_disk_shares.size()) {
      fmt::print("{}", table_);
      std::fflush(stdout);
    }
    choices_.push_back({{"cpu_cache_bytes", choice.cpu_cache_bytes},
                        {"disk_budget_bytes", choice.disk_budget_bytes},
                        {"fits", choice.fits},
                        {"residency", name_of(cost.residency)},
                        {"group_batches", cost.group_batches},
                        {"disk_bytes_per_epoch", cost.disk_bytes},
                        {"disk_space_bytes", cost.disk_space_bytes()}});
    if (drive_) choices_.back()["read_seconds_per_epoch"] = read_seconds(*drive_, cost);
  }
  const nlohmann::json& choices() const { return choices_; }

 private:
  void add_heading(const BudgetChoice& choice) {
    const auto space = static_cast<double>(choice.cost.disk_space_bytes());
    table_ =
        fmt::format("What other budgets would give: read for an epoch{}, and space on the drive\n  {:>10}",
                    drive_ ? ", the time that takes" : "", "--cpu-cache");
    for (const double share : budget_disk_shares) {
      table_ +=
          fmt::format(" {:>34}", share == 0 ? std::string("--disk-budget as much as it takes")
                                            : fmt::format("--disk-budget {}", format_bytes(share * space)));
    }
    table_ += "\n";
  }
  std::optional<DriveProfile> drive_;
  std::string table_;
  std::size_t shown_ = 0;
  nlohmann::json choices_ = nlohmann::json::array();
};

void print_plan(const PreparationCost& cost, const PrepareRequest& request, const Dataset& dataset) {
  const auto& options = request.options;
  const auto row_bytes = static_cast<double>(cost.row_bytes);
  fmt::print("Plan '{}': fanout {}, batch size {}, {} sampled epoch{} of {} batches, {} evaluation batches\n",
             request.name, fmt::join(options.fanouts, ","), options.batch_size, options.sample_epochs,
             options.sample_epochs == 1 ? "" : "s", cost.train_batches, cost.evaluation_batches);
  fmt::print("  each epoch reads {}  ({} edges sampled)\n",
             rows_and_bytes(cost.input_rows, cost.input_rows * row_bytes),
             format_count(static_cast<std::uint64_t>(cost.sampled_edges)));
  const auto share = [&](double rows) { return cost.input_rows > 0 ? rows / cost.input_rows * 100 : 0; };
  if (options.gpu_cache_bytes > 0) {
    fmt::print("    from gpu tier  {}  {:4.1f} %, {} rows held, the most read\n",
               rows_and_bytes(cost.gpu_rows, cost.gpu_rows * row_bytes), share(cost.gpu_rows),
               format_count(cost.gpu_cached_rows));
  }
  const std::string exchanged =
      cost.residency == Residency::belady
          ? fmt::format(", {} exchanged an epoch",
                        format_count(static_cast<std::uint64_t>(cost.admitted_rows)))
          : "";
  fmt::print("    from cpu tier  {}  {:4.1f} %, {} rows held of {} that training reads ({}{})\n",
             rows_and_bytes(cost.cpu_rows, cost.cpu_rows * row_bytes), share(cost.cpu_rows),
             format_count(cost.cached_rows), format_count(cost.accessed_rows), name_of(cost.residency),
             exchanged);
  const double disk_share = share(cost.disk_rows);
  const std::string reads = format_count(static_cast<std::uint64_t>(cost.disk_reads));
  if (cost.group_count == 0) {
    fmt::print("    from disk tier {}  {:4.1f} %, in {} reads of at most 1 MiB\n",
               rows_and_bytes(cost.disk_rows, cost.disk_bytes), disk_share, reads);
  } else {
    const double needed = cost.disk_rows * row_bytes;
    fmt::print(
        "    from page tier {}  {:4.1f} %, in {} reads; rows shared by up to {} batches, {:.3f} bytes "
        "read for one needed\n",
        rows_and_bytes(cost.disk_rows, cost.disk_bytes), disk_share, reads, cost.group_batches,
        needed > 0 ? cost.disk_bytes / needed : 0);
  }
  const auto drive = stored_drive_profile(dataset);
  if (drive) {
    fmt::print("    which takes the drive {} an epoch, at its sequential {} and {} random reads/s\n",
               format_seconds(read_seconds(*drive, cost)), format_rate(drive->sequential_bytes_per_second()),
               format_count(static_cast<std::uint64_t>(drive->random_reads_per_second(4096))));
  } else {
    fmt::print("    how long that takes: measure the drive once with 'gneiss bench io --dataset {}'\n",
               dataset.folder().string());
  }
  const std::string gpu_image =
      cost.gpu_tier_bytes == 0
          ? ""
          : fmt::format("gpu image {}, ", format_bytes(static_cast<double>(cost.gpu_tier_bytes)));
  fmt::print("  on the drive     segments {}, {}cpu image {}, samples at most {}; {} are free\n",
             format_bytes(static_cast<double>(cost.segment_bytes)), gpu_image,
             format_bytes(static_cast<double>(cost.cpu_tier_bytes)),
             format_bytes(static_cast<double>(cost.samples_bytes_at_most)),
             format_bytes(static_cast<double>(cost.free_bytes)));
  const MemoryPlan memory = foresee_training_memory(dataset, options, cost);
  fmt::print(
      "  in memory        training takes up to {} by default: {}cpu tier {}, {} batches in flight of {}, "
      "model "
      "{}\n",
      format_bytes(static_cast<double>(memory.total_bytes())), gpu_tier_text(memory),
      format_bytes(static_cast<double>(memory.cpu_tier_bytes)), memory.slot_count,
      format_bytes(static_cast<double>(memory.slot_bytes)),
      format_bytes(static_cast<double>(memory.model_bytes)));
  if (cost.packing_seconds > 0) {
    const std::string sampling =
        cost.sampling_seconds > 0 ? fmt::format("sampling {}, ", format_seconds(cost.sampling_seconds)) : "";
    fmt::print("  to prepare it    about {} where nothing else runs: {}packing {} ({} read, {} written)\n",
               format_seconds(cost.sampling_seconds + cost.packing_seconds), sampling,
               format_seconds(cost.packing_seconds),
               format_bytes(static_cast<double>(cost.packing_read_bytes())),
               format_bytes(static_cast<double>(cost.packing_write_bytes())));
  }
  std::fflush(stdout);
}

nlohmann::json summarize(const PrepareOptions& options, const PrepareResult& result, double seconds) {
  const PreparationCost& cost = result.cost;
  return {{"command", "prepare"},
          {"preparation", options.request.name},
          {"options", to_json(options.request.options)},
          {"already_done", result.already_done},
          {"dry_run", options.request.dry_run},
          {"train_batches", cost.train_batches},
          {"evaluation_batches", cost.evaluation_batches},
          {"input_rows", cost.input_rows},
          {"gpu_rows", cost.gpu_rows},
          {"cpu_rows", cost.cpu_rows},
          {"disk_rows", cost.disk_rows},
          {"disk_bytes_per_epoch", cost.disk_bytes},
          {"disk_reads_per_epoch", cost.disk_reads},
          {"disk_pieces_per_epoch", cost.disk_pieces},
          {"disk_space_bytes", cost.disk_space_bytes()},
          {"group_batches", cost.group_batches},
          {"group_count", cost.group_count},
          {"sampled_edges", cost.sampled_edges},
          {"gpu_cached_rows", cost.gpu_cached_rows},
          {"gpu_tier_bytes", cost.gpu_tier_bytes},
          {"cached_rows", cost.cached_rows},
          {"cpu_tier_bytes", cost.cpu_tier_bytes},
          {"residency", name_of(cost.residency)},
          {"admitted_rows", cost.admitted_rows},
          {"segment_bytes", cost.segment_bytes},
          {"packed_bytes", result.packed_bytes},
          {"samples_bytes", result.samples_bytes},
          {"bytes_read", result.bytes_read},
          {"resumed_from", result.went_on_after},
          {"sampled_batches", result.sampled_batches},
          {"scans", result.scans},
          {"sweep_waves", result.sweep_waves},
          {"graph_bytes_read", result.graph_bytes_read},
          {"sampling_seconds", result.sampling_seconds},
          {"packing_seconds", result.packing_seconds},
          {"peak_memory_bytes", peak_resident_bytes()},
          {"seconds", seconds}};
}

void run(PrepareOptions& options) {
  const Stopwatch clock;
  check_outputs({{"--summary", options.summary}}, {.dataset = options.dataset});
  options.request.memory_bytes = memory_budget(options.memory_bytes);
  check_request(options.request);
  Dataset dataset = Dataset::open(options.dataset,
                                  options.request.dry_run ? Catalog::Access::read : Catalog::Access::write);
  ThreadPool pool(options.threads);
  BudgetPrinter budgets(dataset);
  options.request.explore_budgets = [&](const BudgetChoice& choice) { budgets.show(choice); };
  const PrepareResult result = prepare(dataset, options.request, pool, [&](const PreparationCost& cost) {
    print_plan(cost, options.request, dataset);
  });
  if (result.already_done) {
    fmt::print("Preparation '{}' is already there, made with these options; nothing to do\n",
               options.request.name);
  } else if (options.request.dry_run) {
    fmt::print("Dry run: nothing was written\n");
  } else {
    fmt::print("Prepared '{}' in {}: {} on the drive, sampling {}, packing {} ({} scan{} of the features)\n",
               options.request.name, format_seconds(clock.seconds()),
               format_bytes(static_cast<double>(result.packed_bytes)),
               format_seconds(result.sampling_seconds), format_seconds(result.packing_seconds), result.scans,
               result.scans == 1 ? "" : "s");
  }
  nlohmann::json summary = summarize(options, result, clock.seconds());
  if (!result.already_done) {
    summary["predicted_training_memory_bytes"] =
        foresee_training_memory(dataset, options.request.options, result.cost).total_bytes();
  }
  if (const auto drive = stored_drive_profile(dataset); drive && !result.already_done) {
    summary["predicted_read_seconds_per_epoch"] = read_seconds(*drive, result.cost);
    if (result.cost.packing_seconds > 0) {
      summary["predicted_packing_seconds"] = result.cost.packing_seconds;
      summary["predicted_sampling_seconds"] = result.cost.sampling_seconds;
      summary["predicted_seconds_after_plan"] = result.cost.sampling_seconds + result.cost.packing_seconds;
    }
  }
  if (options.request.dry_run && !result.already_done) summary["other_budgets"] = budgets.choices();
  write_summary(options.summary, summary);
}

}  // namespace

void register_prepare(CLI::App& app) {
  auto* command =
      app.add_subcommand("prepare", "Sample mini-batches, plan tiers and pack features for training");
  const auto options = std::make_shared<PrepareOptions>();
  PreparationOptions& preparation = options->request.options;
  // Ten epochs over one sampled epoch cost 0.9 points on fb100_dev against fresh samples, over four a quarter
  // of a point; ogbn_arxiv shows no difference (bench/sampled_epochs.md). The plan says what it takes on
  // disk.
  preparation.sample_epochs = 4;
  add_dataset_option(*command, options->dataset);
  command->add_option("--name", options->request.name, "What to call the preparation")->capture_default_str();
  command
      ->add_option("--fanout", preparation.fanouts,
                   "Neighbors to sample per hop, from the seeds outwards; -1: all. One number per layer")
      ->delimiter(',')
      ->transform(decimal_integers())
      ->type_name("K1,K2,...")
      ->capture_default_str();
  command->add_option("--batch-size", preparation.batch_size, "Seed nodes per mini-batch")
      ->capture_default_str();
  command
      ->add_option("--sample-epochs", preparation.sample_epochs,
                   "Epochs to sample ahead; training cycles through them. Each takes its share of the drive")
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--sampler", [&preparation](const std::string& name) { preparation.sampler = parse_sampler(name); },
          "How neighbors are drawn: neighbor (uniform) or labor (overlapping neighborhoods draw the same "
          "sources)")
      ->type_name("NAME")
      ->default_str("neighbor");
  command->add_flag("--layer-dependency", preparation.layer_dependency,
                    "LABOR: all hops of a batch share their random variates");
  command
      ->add_option("--batch-dependency", preparation.batch_dependency,
                   "LABOR: batches until the random variates are new; 1: each batch draws its own")
      ->capture_default_str();
  command->add_flag("--replace", preparation.replace, "Draw neighbors with replacement");
  command->add_flag("--edge-positions", preparation.edge_positions,
                    "Record where each sampled edge stands in the graph");
  command->add_flag("!--no-evaluation", preparation.evaluation, "Prepare no validation and test batches");
  command
      ->add_option_function<std::string>(
          "--residency",
          [&preparation](const std::string& name) { preparation.residency = parse_residency(name); },
          "Which rows the cpu tier keeps: static (the most read, for good), belady (at each batch those "
          "needed "
          "soonest; batches then keep one order in every epoch) or auto (what reads less)")
      ->type_name("NAME")
      ->default_str("static");
  add_bytes_option(
      *command, "--gpu-cache", preparation.gpu_cache_bytes,
      "Device memory for the most read rows, such as 10GiB; --cpu-cache holds the next; default 0");
  add_bytes_option(*command, "--cpu-cache", preparation.cpu_cache_bytes,
                   "Host memory for the most read rows, such as 10GiB; default 0");
  add_bytes_option(*command, "--disk-budget", options->request.disk_budget_bytes,
                   "The most the preparation may take on the drive, such as 20GiB; default: what is free")
      ->check([](const std::string& text) {
        return parse_bytes(text, "--disk-budget") > 0 ? std::string()
                                                      : "0 leaves no room; leave it out for all that is free";
      });
  add_bytes_option(
      *command, "--read-gap", options->request.read_gap_bytes,
      "With batches that share rows: bytes not needed up to which two reads become one; default: "
      "what the drive reads while it begins another read, by its profile, or 8KiB");
  command->add_option("--seed", preparation.seed, "Seed of all random draws")->capture_default_str();
  add_memory_option(*command, options->memory_bytes);
  add_threads_option(*command, options->threads);
  command->add_flag("--dry-run", options->request.dry_run, "Print plan and cost, write nothing");
  command->add_flag("--force", options->request.force, "Replace a preparation of this name");
  add_summary_option(*command, options->summary);
  command->callback([options] { run(*options); });
}

}  // namespace gneiss
