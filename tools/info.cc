#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/format/dataset.h"
#include "storage/import/statistics.h"
#include "tools/commands.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct Arguments {
  std::string dataset;
  std::string summary;
};

void run_info(const Arguments& arguments) {
  const Dataset dataset = Dataset::open(arguments.dataset);
  nlohmann::json statistics = dataset.statistics();
  fmt::print("{}\n  {:<18}{}\n{}", arguments.dataset, "made from", dataset.info().source,
             format_statistics(statistics));
  statistics["fingerprint"] = fmt::format("{:016x}", dataset.fingerprint());
  fmt::print("  {:<18}{:016x}\n", "fingerprint", dataset.fingerprint());
  write_summary(arguments.summary, statistics);
}

}  // namespace

void register_info(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("info", "Say what a dataset holds");
  command->add_option("DATASET,--dataset", arguments->dataset, "Folder of the dataset")->required();
  add_summary_option(*command, arguments->summary);
  command->callback([arguments] { run_info(*arguments); });
}

}  // namespace gneiss
