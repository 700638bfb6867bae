#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/error.h"
#include "storage/base/units.h"
#include "storage/format/preparation.h"
#include "storage/import/statistics.h"
#include "tools/commands.h"
#include "tools/output_files.h"
#include "tools/printable.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct Arguments {
  std::string dataset;
  std::string summary;
};

// One line for each preparation, and an object for the summary; a damaged or stale one says so.
nlohmann::json list_preparations(const Dataset& dataset) {
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& name : preparation_names(dataset)) {
    try {
      const Preparation preparation = Preparation::open(dataset, name);
      const PreparationOptions& options = preparation.info().options;
      fmt::print(
          "  {:<18}'{}': fanout {}, batch size {}, {} epochs of {} batches, {}{} rows cached ({}), {}{}\n",
          "preparation", printable(name), fmt::join(options.fanouts, ","), options.batch_size,
          options.sample_epochs, preparation.info().train_batches_per_epoch,
          preparation.gpu_row_count() == 0
              ? ""
              : fmt::format("{} rows in the gpu tier, ", format_count(preparation.gpu_row_count())),
          format_count(preparation.cpu_slot_count()), name_of(preparation.info().planned),
          format_bytes(static_cast<double>(preparation.bytes())),
          preparation.pack().is_shared() ? ", batches share rows" : "");
      list.push_back({{"name", name},
                      {"options", to_json(options)},
                      {"train_batches_per_epoch", preparation.info().train_batches_per_epoch},
                      {"gpu_cached_rows", preparation.gpu_row_count()},
                      {"cached_rows", preparation.cpu_slot_count()},
                      {"residency", name_of(preparation.info().planned)},
                      {"shares_rows", preparation.pack().is_shared()},
                      {"bytes", preparation.bytes()}});
    } catch (const Error& error) {
      fmt::print("  {:<18}{}\n", "preparation", printable(error.what()));
      list.push_back({{"name", name}, {"problem", error.what()}});
    }
  }
  return list;
}

void run_info(const Arguments& arguments) {
  check_outputs({{"--summary", arguments.summary}}, {.dataset = arguments.dataset});
  const Dataset dataset = Dataset::open(arguments.dataset);
  nlohmann::json statistics = dataset.statistics();
  if (!statistics.contains("task")) statistics.update({{"task", "multi-class"}, {"metric", "accuracy"}});
  fmt::print("{}\n  {:<18}{}\n{}", arguments.dataset, "made from", printable(dataset.info().source),
             format_statistics(statistics));
  statistics["fingerprint"] = fmt::format("{:016x}", dataset.fingerprint());
  fmt::print("  {:<18}{:016x}\n", "fingerprint", dataset.fingerprint());
  statistics["preparations"] = list_preparations(dataset);
  write_summary(arguments.summary, statistics);
}

}  // namespace

void register_info(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("info", "Say what a dataset holds");
  command->add_option("DATASET,--dataset", arguments->dataset, "Folder of the dataset")
      ->type_name("DIR")
      ->required();
  add_summary_option(*command, arguments->summary);
  command->callback([arguments] { run_info(*arguments); });
}

}  // namespace gneiss
