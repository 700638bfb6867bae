// Columns of labels, and two classes as one column, from a user's files to the scores of a run.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "storage/base/dtype.h"
#include "storage/base/random.h"
#include "storage/format/npy_writer.h"
#include "storage/io/file.h"
#include "tests/e2e/npy.h"
#include "tests/e2e/program.h"
#include "tests/e2e/read_json.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint64_t nodes = 1200;
constexpr std::uint64_t columns = 3;

template <class T>
void write_matrix(const std::filesystem::path& path, Dtype dtype, std::uint64_t rows, std::uint64_t width,
                  const std::vector<T>& values) {
  const std::array<std::uint64_t, 2> shape{rows, width};
  write_npy(path, dtype, shape, std::as_bytes(std::span(values)));
}

// Four groups of nodes, whose edges stay inside mostly; features that say little by themselves. A column of
// labels each: group 0, groups 0 and 1, group 3; about a quarter is unknown. Returns the labels.
std::vector<float> write_source(const std::filesystem::path& folder) {
  std::filesystem::create_directory(folder);
  RandomStream random(11);
  std::vector<std::int64_t> ends(2 * 8 * nodes);
  for (std::size_t i = 0; i < 8 * nodes; ++i) {
    const std::uint64_t source = random.below(nodes);
    const std::uint64_t group = random.below(10) == 0 ? random.below(4) : source % 4;
    ends[i] = static_cast<std::int64_t>(source);
    ends[8 * nodes + i] = static_cast<std::int64_t>(random.below(nodes / 4) * 4 + group);
  }
  write_matrix(folder / "edge_index.npy", Dtype::i64, 2, 8 * nodes, ends);
  std::vector<float> features(nodes * 8);
  for (std::size_t i = 0; i < features.size(); ++i) {
    const bool is_own = i % 8 == (i / 8) % 4;
    features[i] = static_cast<float>(4 * random.uniform() - 2 + (is_own ? 1 : 0));
  }
  write_matrix(folder / "node_feat.npy", Dtype::f32, nodes, 8, features);
  std::vector<float> labels;
  for (std::uint64_t node = 0; node < nodes; ++node) {
    const std::uint64_t group = node % 4;
    for (const bool is_one : {group == 0, group <= 1, group == 3}) labels.push_back(is_one ? 1.0F : 0.0F);
    if (node % 5 != 0) labels[labels.size() - 1 - node % 3] = std::numeric_limits<float>::quiet_NaN();
  }
  write_matrix(folder / "node_label.npy", Dtype::f32, nodes, columns, labels);
  const auto write_split = [&](const char* name, std::int64_t first, std::int64_t end) {
    std::vector<std::int64_t> ids;
    for (std::int64_t id = first; id < end; ++id) ids.push_back(id * 7 % static_cast<std::int64_t>(nodes));
    write_npy_vector<std::int64_t>(folder / name, Dtype::i64, ids);
  };
  write_split("train_idx.npy", 0, 600);
  write_split("val_idx.npy", 600, 800);
  write_split("test_idx.npy", 800, 1000);
  return labels;
}

}  // namespace

TEST_CASE("columns of labels go through every command, and are learned") {
  const TemporaryFolder folder;
  const std::vector<float> labels = write_source(folder / "source");
  const std::string dataset = folder / "d.gneiss";
  CHECK(contains(expect_done({"import", "npy", folder / "source", dataset, "--undirected"}),
                 "3 columns of 0 and 1, 1,200 nodes labelled"));
  CHECK(contains(expect_done({"info", dataset, "--summary", folder / "i.json"}),
                 "multi-label, judged by ROC-AUC"));
  CHECK(read_json(folder / "i.json").at("task") == "multi-label");
  CHECK(read_json(folder / "i.json").at("metric") == "rocauc");
  CHECK(read_json(folder / "i.json").at("label_bytes") == nodes * columns);
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "5,5", "--batch-size", "100"});
  expect_done({"verify", "--dataset", dataset});

  expect_done(
      {"inspect", "--dataset", dataset, "--preparation", "P", "--batch", "2", "--out", folder / "out"});
  const Npy written = read_npy(folder / "out" / "labels.npy");
  const auto seeds = read_npy(folder / "out" / "seeds.npy").values<std::uint32_t>();
  CHECK(written.dtype == "<f4");
  REQUIRE(written.shape == std::vector<std::size_t>{seeds.size(), columns});
  const auto values = written.values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float expected = labels[seeds[i / columns] * columns + i % columns];
    CHECK((std::isnan(expected) ? std::isnan(values[i]) : values[i] == expected));
  }

  const Arguments train{"train",
                        "--dataset",
                        dataset,
                        "--preparation",
                        "P",
                        "--epochs",
                        "12",
                        "--lr",
                        "0.02",
                        "--hidden",
                        "16",
                        "--dropout",
                        "0",
                        "--gradient-clipping",
                        "1",
                        "--seed",
                        "2",
                        "--run",
                        folder / "run",
                        "--summary",
                        folder / "t.json"};
  const std::string printed = expect_done(train);
  CHECK(contains(printed, "Train ROC-AUC: "));
  CHECK(contains(printed, "Valid ROC-AUC: "));
  CHECK(contains(printed, "Test ROC-AUC: "));
  const auto summary = read_json(folder / "t.json");
  CHECK(summary.at("metric") == "rocauc");
  CHECK(summary.at("options").at("task") == "multi-label");
  CHECK(summary.at("test_rocauc").get<double>() > 0.9);
  CHECK(summary.contains("valid_rocauc"));
  CHECK(summary.contains("test_f1"));
  std::istringstream lines(read_text_file(folder / "run" / "metrics.jsonl"));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto epoch = nlohmann::json::parse(line);
    for (const char* key : {"train_rocauc", "valid_rocauc", "train_f1", "valid_accuracy"})
      CHECK(epoch.contains(key));
  }
  CHECK(count == 12);

  // The run's own configuration makes it again.
  expect_done({"train", "--config", folder / "run" / "config.yaml", "--run", folder / "again", "--summary",
               folder / "a.json"});
  CHECK(read_json(folder / "a.json").at("test_rocauc") == summary.at("test_rocauc"));
  const Arguments base{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"};
  const auto refused = [&](const Arguments& more, const char* part) {
    Arguments all = base;
    all.insert(all.end(), more.begin(), more.end());
    expect_refused(all, 2, part);
  };
  refused({"--task", "multi-class"}, "3 columns of labels");
  refused({"--class-weights", "balanced"}, "--task multi-label");
  refused({"--metric", "auc"}, "auc");
}

TEST_CASE("two classes as one column, weighted classes, smoothing and F1 are options of a run") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  expect_done({"generate", dataset, "--nodes", "3000", "--features", "16", "--classes", "2", "--train-share",
               "0.2", "--seed", "3"});
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "5,5", "--batch-size", "100"});
  const auto train = [&](const Arguments& more) {
    Arguments all{"train", "--dataset", dataset, "--preparation", "P",         "--epochs",
                  "8",     "--hidden",  "16",    "--dropout",     "0",         "--lr",
                  "0.01",  "--force",   "--run", folder / "run",  "--summary", folder / "t.json"};
    all.insert(all.end(), more.begin(), more.end());
    const std::string printed = expect_done(all);
    return std::pair(printed, read_json(folder / "t.json"));
  };
  const auto [binary_lines, binary] = train({"--task", "binary"});
  CHECK(contains(binary_lines, "Valid ROC-AUC: "));
  CHECK(binary.at("test_rocauc").get<double>() > 0.7);
  CHECK(binary.contains("test_accuracy"));
  const auto [f1_lines, f1] =
      train({"--metric", "f1", "--class-weights", "balanced", "--label-smoothing", "0.1"});
  CHECK(contains(f1_lines, "Valid macro F1: "));
  CHECK(f1.at("metric") == "f1");
  CHECK(f1.contains("test_accuracy"));
  CHECK(f1.contains("test_f1"));
  CHECK_FALSE(f1.contains("test_rocauc"));
  CHECK(f1.at("options").at("class_weights") == "balanced");
  const auto [lines, plain] = train({"--class-weights", "1,3", "--runs", "2"});
  CHECK(contains(lines, ", Valid: "));
  CHECK(plain.contains("test_accuracy_deviation"));
  CHECK(plain.contains("test_f1_deviation"));
  const Arguments base{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1"};
  const auto refused = [&](const Arguments& more, const char* part) {
    Arguments all = base;
    all.insert(all.end(), more.begin(), more.end());
    expect_refused(all, 2, part);
  };
  refused({"--metric", "rocauc"}, "--task binary");
  refused({"--task", "multi-label"}, "one class a node");
  refused({"--class-weights", "1,2,3"}, "3 weights, the dataset has 2 classes");
  refused({"--class-weights", "heavy"}, "W1,W2");
  refused({"--label-smoothing", "1.5"}, "--label-smoothing is 1.5");
  refused({"--gradient-clipping", "-1"}, "--gradient-clipping");
}
