#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/memory_limit.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/import/import_npy.h"
#include "storage/import/import_ogb.h"
#include "storage/import/importer.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct Arguments {
  ImportOptions import;
  OgbOptions ogb;
  std::string source;
  std::string target;
  std::string feature_dtype;
  std::string normalization = "none";
  std::string summary;
};

void run_import(Arguments arguments, const std::function<GraphSource(const Arguments&)>& open) {
  check_outputs({{"--summary", arguments.summary}},
                {.dataset = arguments.target, .source = arguments.source});
  ImportOptions& options = arguments.import;
  if (!arguments.feature_dtype.empty()) options.feature_dtype = parse_feature_dtype(arguments.feature_dtype);
  options.normalization = parse_normalization(arguments.normalization);
  const Stopwatch watch;
  GraphSource source = open(arguments);
  options.memory_bytes = import_memory_budget(options.memory_bytes, import_memory_beside(source));
  const DatasetStatistics statistics = import_graph(std::move(source), arguments.target, options);
  nlohmann::json summary = to_json(statistics);
  fmt::print("{}\n{}", arguments.target, format_statistics(summary));
  fmt::print("  imported in       {}\n", format_seconds(watch.seconds()));
  summary["seconds"] = watch.seconds();
  summary["peak_memory_bytes"] = peak_resident_bytes();
  write_summary(arguments.summary, summary);
}

void add_common_options(CLI::App& command, Arguments& arguments) {
  command.add_option("SOURCE", arguments.source, "Folder to read")->required();
  command.add_option("DATASET", arguments.target, "Folder to make")->required();
  command.add_flag("--undirected", arguments.import.undirected, "Add reverse edges, keep one of equal edges");
  command.add_flag("--self-loops", arguments.import.self_loops, "Give every node exactly one edge to itself");
  command.add_option("--feature-dtype", arguments.feature_dtype,
                     "f32, f16 or bf16 [default: f16 stays f16, all else becomes f32]");
  command
      .add_option(
          "--normalize-features", arguments.normalization,
          "none; row (PyG's NormalizeFeatures); l2 (rows to length 1); standardize (columns to mean 0, "
          "deviation 1)")
      ->capture_default_str();
  arguments.import.memory_bytes = 0;  // until memory_budget() has seen what the user gave
  add_memory_option(command, arguments.import.memory_bytes);
  add_threads_option(command, arguments.import.thread_count);
  command.add_flag("--force", arguments.import.force, "Replace an existing dataset");
  add_summary_option(command, arguments.summary);
}

}  // namespace

void register_import(CLI::App& app) {
  CLI::App* import = app.add_subcommand("import", "Make a dataset of a graph in another layout");
  import->require_subcommand(1);

  auto npy = std::make_shared<Arguments>();
  CLI::App* npy_command = import->add_subcommand(
      "npy", "A folder of edge_index, node_feat, node_label and {train,val,test}_idx .npy files");
  add_common_options(*npy_command, *npy);
  npy_command->callback([npy] {
    run_import(*npy, [](const Arguments& arguments) { return open_npy_folder(arguments.source); });
  });

  auto ogb = std::make_shared<Arguments>();
  CLI::App* ogb_command =
      import->add_subcommand("ogb", "An unzipped OGB node-property folder, such as ogbn_arxiv");
  add_common_options(*ogb_command, *ogb);
  ogb_command->add_option("--split", ogb->ogb.split, "Folder below split/ [default: the only one there]");
  ogb_command->add_option("--add-inverse-edges", ogb->ogb.add_inverse_edges,
                          "true or false [default: as OGB's loader does for the folder's name]");
  ogb_command->callback([ogb] {
    run_import(*ogb,
               [](const Arguments& arguments) { return open_ogb_folder(arguments.source, arguments.ogb); });
  });
}

}  // namespace gneiss
