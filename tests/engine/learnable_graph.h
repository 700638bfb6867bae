// A small graph that can be learned, prepared in three ways, and short runs over it.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/trainer.h"
#include "storage/import/generator.h"
#include "tests/engine/prepared_dataset.h"

namespace gneiss::test {

// What ends a run in the middle.
struct Killed : std::runtime_error {
  Killed() : std::runtime_error("killed") {}
};

// A graph that can be learned, with preparations "none", "tiny" and "all" that differ in the cpu cache, and
// "belady".
class LearnableGraph {
 public:
  //   has_columns  in place of classes: a column for each of them, one for the first two, a fifth of all
  //   unlabelled
  explicit LearnableGraph(double valid_share = 0.1, std::uint32_t sample_epochs = 1,
                          std::uint32_t class_count = 5, bool has_columns = false,
                          std::uint32_t feature_dim = 20) {
    GeneratorOptions graph;
    graph.graph.node_count = 1500;
    graph.graph.average_degree = 6;
    graph.graph.feature_dim = feature_dim;
    graph.graph.class_count = class_count;
    graph.train_share = 0.3;
    graph.valid_share = valid_share;
    graph.test_share = 0.1;
    graph.memory_bytes = 64U << 20;
    generate_dataset(graph, folder_ / (has_columns ? "classes.gneiss" : "d.gneiss"));
    if (has_columns) write_columns();
    options_.fanouts = {4, 4};
    options_.batch_size = 64;
    options_.sample_epochs = sample_epochs;
    PreparationOptions options = options_;
    for (const auto& [name, bytes] :
         {std::pair{"none", 0ULL}, std::pair{"tiny", 3000ULL}, std::pair{"all", 1ULL << 30}}) {
      options.cpu_cache_bytes = bytes;
      prepare_dataset(folder_ / "d.gneiss", name, options);
    }
    options.cpu_cache_bytes = 20'000;
    options.residency = Residency::belady;
    prepare_dataset(folder_ / "d.gneiss", "belady", options);
    dataset_ = std::make_unique<Dataset>(Dataset::open(folder_ / "d.gneiss"));
  }

  // One more preparation.
  void prepare(const std::string& name, const PreparationOptions& options,
               std::uint64_t disk_budget_bytes = 0) {
    dataset_.reset();
    prepare_dataset(folder_ / "d.gneiss", name, options, disk_budget_bytes);
    dataset_ = std::make_unique<Dataset>(Dataset::open(folder_ / "d.gneiss"));
  }

  // The same, of the batches that all have, with its rows in these tiers; in bytes.
  void prepare_tiers(const std::string& name, std::uint64_t gpu, std::uint64_t cpu, Residency residency,
                     std::uint64_t disk_budget_bytes = 0) {
    PreparationOptions options = options_;
    options.gpu_cache_bytes = gpu;
    options.cpu_cache_bytes = cpu;
    options.residency = residency;
    prepare(name, options, disk_budget_bytes);
  }

  const Dataset& dataset() const { return *dataset_; }
  std::filesystem::path folder() const { return folder_.path(); }
  Preparation open(const std::string& name) const { return Preparation::open(*dataset_, name); }

  RunResult train(
      const TrainOptions& options, const std::string& name = "tiny", std::size_t threads = 1,
      const std::function<void(const EpochResult&)>& on_epoch = [](const EpochResult&) {}) const {
    const Preparation preparation = open(name);
    const HostGpuTier gpu_tier(preparation);
    TrainOptions with_tier = options;
    with_tier.pipeline.gpu_tier = gpu_tier.base();
    ThreadPool pool(threads);
    const auto backend = make_cpu_backend(pool);
    CpuTier cpu_tier(preparation);
    return gneiss::train(*dataset_, preparation, cpu_tier, with_tier, *backend, on_epoch);
  }

 private:
  void write_columns() const {
    const Dataset source = Dataset::open(folder_ / "classes.gneiss");
    const std::vector<std::int32_t> classes = source.read_labels().classes;
    DatasetInfo info = source.info();
    const std::uint32_t class_count = std::exchange(info.class_count, 0);
    info.label_columns = class_count + 1;
    std::vector<std::uint8_t> entries;
    for (std::uint32_t node = 0; node < classes.size(); ++node) {
      for (std::uint32_t column = 0; column < info.label_columns; ++column) {
        const auto label = static_cast<std::uint32_t>(classes[node]);
        const bool is_one = column < class_count ? label == column : label < 2;
        const bool is_known = (node + column) % 5 != 0;
        entries.push_back(is_known ? static_cast<std::uint8_t>(is_one) : unlabelled);
      }
    }
    DatasetWriter writer(folder_ / "d.gneiss", false);
    for (const char* file : {graph_file_name, features_file_name}) {
      std::filesystem::copy(source.folder() / file, writer.folder() / file);
    }
    SectionWriter labels(writer.folder() / labels_file_name, labels_magic);
    labels.write<std::uint8_t>(
        {.kind = SectionKind::label_columns, .dtype = Dtype::u8, .columns = info.label_columns}, entries);
    labels.finish();
    writer.seal(info,
                {.train = source.split(Split::train),
                 .valid = source.split(Split::valid),
                 .test = source.split(Split::test)},
                source.statistics());
  }

  TemporaryFolder folder_;
  PreparationOptions options_;  // of all preparations, but for their tiers
  std::unique_ptr<Dataset> dataset_;
};

inline TrainOptions short_run() {
  TrainOptions options;
  options.hidden = 16;
  options.dropout = 0.3F;
  options.optimizer.learning_rate = 0.01F;
  options.schedule.epochs = 3;
  options.schedule.seed = 5;
  options.memory_bytes = 1ULL << 30;
  return options;
}

// Short runs with the models and options that not every run has, each of them once or more.
inline std::vector<TrainOptions> runs_with_options() {
  const auto run = [](const char* model, Aggregator aggregator, bool residual, NormKind norm) {
    TrainOptions options = short_run();
    options.model = model;
    options.head_count = 2;
    options.aggregator = aggregator;
    options.residual = residual;
    options.norm = norm;
    return options;
  };
  return {run("gat", Aggregator::mean, false, NormKind::none),
          run("gat", Aggregator::mean, true, NormKind::batch),
          run("sage", Aggregator::max, true, NormKind::layer),
          run("gcn", Aggregator::mean, false, NormKind::batch),
          run("gin", Aggregator::mean, true, NormKind::batch),
          run("mlp", Aggregator::mean, true, NormKind::batch)};
}

inline bool same_run(const RunResult& a, const RunResult& b) {
  return a.step_losses == b.step_losses && a.valid_score == b.valid_score && a.test == b.test &&
         a.best_epoch == b.best_epoch;
}

}  // namespace gneiss::test
