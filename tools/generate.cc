#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "storage/base/memory_limit.h"
#include "storage/base/stopwatch.h"
#include "storage/base/units.h"
#include "storage/import/generator.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output_files.h"
#include "tools/summary.h"

namespace gneiss {
namespace {

struct Arguments {
  GeneratorOptions generator;
  std::string target;
  std::string feature_dtype = "f32";
  std::string summary;
};

void run_generate(Arguments arguments) {
  check_outputs({{"--summary", arguments.summary}}, {.dataset = arguments.target});
  GeneratorOptions& options = arguments.generator;
  options.feature_dtype = parse_feature_dtype(arguments.feature_dtype);
  options.memory_bytes = import_memory_budget(options.memory_bytes, generator_memory_beside(options));
  const Stopwatch watch;
  const GeneratorReport report = generate_dataset(options, arguments.target);
  nlohmann::json summary = to_json(report.statistics);
  fmt::print("{}\n{}", arguments.target, format_statistics(summary));
  fmt::print("  best accuracy     {:.1f} % from features alone, {:.1f} % whatever is known (label noise)\n",
             100 * report.best_feature_accuracy, 100 * report.best_accuracy);
  fmt::print("  generated in      {}\n", format_seconds(watch.seconds()));
  summary["best_feature_accuracy"] = report.best_feature_accuracy;
  summary["best_accuracy"] = report.best_accuracy;
  summary["seconds"] = watch.seconds();
  summary["peak_memory_bytes"] = peak_resident_bytes();
  write_summary(arguments.summary, summary);
}

}  // namespace

void register_generate(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  GeneratorOptions& options = arguments->generator;
  PlantedOptions& graph = options.graph;
  graph.node_count = 1'000'000;
  options.memory_bytes = 0;  // until memory_budget() has seen what the user gave
  CLI::App* command = app.add_subcommand("generate", "Make a dataset with planted classes, of any size");
  command->add_option("DATASET", arguments->target, "Folder to make")->required();
  command->add_option("--nodes", graph.node_count, "Number of nodes")->capture_default_str();
  command
      ->add_option("--avg-degree", graph.average_degree, "Edges drawn a node, before reverse edges are added")
      ->capture_default_str();
  command
      ->add_option("--degree-skew", graph.degree_skew,
                   "0: all degrees alike; s: a power law with P(degree > d) ~ d^(-1/s), at most 0.95")
      ->capture_default_str();
  command->add_option("--features", graph.feature_dim, "Feature dimension")->capture_default_str();
  command->add_option("--feature-dtype", arguments->feature_dtype, "f32, f16 or bf16")->capture_default_str();
  command->add_option("--classes", graph.class_count, "Number of classes")->capture_default_str();
  command->add_option("--homophily", graph.homophily, "Share of edges that join nodes of the same class")
      ->capture_default_str();
  command
      ->add_option("--communities", graph.community_count,
                   "Number of denser groups, each within one class; 0: only the classes")
      ->capture_default_str();
  command
      ->add_option("--community-share", graph.community_share,
                   "Share of a class's inner edges that stay in one community")
      ->capture_default_str();
  command->add_option("--signal", graph.signal, "Distance of the class means, in deviations of the noise")
      ->capture_default_str();
  command->add_option("--label-noise", graph.label_noise, "Share of labels drawn at random")
      ->capture_default_str();
  command->add_option("--train-share", options.train_share, "Share of nodes to train on")
      ->capture_default_str();
  command->add_option("--valid-share", options.valid_share, "Share of nodes to validate on")
      ->capture_default_str();
  command->add_option("--test-share", options.test_share, "Share of nodes to test on")->capture_default_str();
  command->add_flag("--directed", options.directed, "Keep edges one way");
  command->add_option("--seed", graph.seed, "The same seed gives the same bytes")->capture_default_str();
  add_memory_option(*command, options.memory_bytes);
  add_threads_option(*command, options.thread_count);
  command->add_flag("--force", options.force, "Replace an existing dataset");
  add_summary_option(*command, arguments->summary);
  command->callback([arguments] { run_generate(*arguments); });
}

}  // namespace gneiss
