// `gneiss infer` and `train --eval exact` as a user runs them: the arrays, what they agree with, what is
// refused, what an interruption leaves, and the memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "storage/base/random.h"
#include "storage/format/dataset.h"
#include "storage/format/npy_writer.h"
#include "tests/e2e/npy.h"
#include "tests/e2e/program.h"
#include "tests/e2e/read_json.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

Arguments operator+(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Arguments infer(const std::string& dataset, const std::string& run, const std::string& what,
                const std::string& out) {
  return {"infer", "--dataset", dataset, "--run", run, "--what", what, "--out", out};
}

double largest_difference(const Npy& a, const Npy& b) {
  REQUIRE(a.shape == b.shape);
  const auto left = a.values<float>();
  const auto right = b.values<float>();
  double most = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(left[i]) - static_cast<double>(right[i])));
  }
  return most;
}

// Share of a split's labelled nodes whose class is as predicted.
double accuracy(const Dataset& dataset, Split split, const std::vector<std::int32_t>& predictions) {
  const auto labels = dataset.read_labels().classes;
  double right = 0;
  double labelled = 0;
  for (const NodeId node : dataset.split(split)) {
    const std::int32_t label = labels[to_index(node)];
    if (label < 0) continue;
    ++labelled;
    right += predictions[to_index(node)] == label ? 1 : 0;
  }
  return right / labelled;
}

}  // namespace

TEST_CASE("infer writes logits, predictions and embeddings of all nodes, and training by them agrees") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const Dataset data = Dataset::open(dataset);
  const std::size_t nodes = data.info().node_count;
  const std::size_t classes = data.info().class_count;
  for (const Arguments& model : std::vector<Arguments>{{"sage"},
                                                       {"sage", "--aggregator", "max", "--norm", "layer"},
                                                       {"gcn", "--residual"},
                                                       {"gat", "--num-heads", "2", "--norm", "batch"},
                                                       {"gat", "--activation", "elu"},
                                                       {"gin", "--norm", "batch"},
                                                       {"mlp", "--residual"}}) {
    CAPTURE(model.front());
    const std::string run = folder / "run";
    expect_done(Arguments{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "2", "--hidden",
                          "24", "--lr", "0.01", "--eval", "exact", "--run", run, "--force", "--summary",
                          folder / "t.json", "--model"} +
                model);
    const auto trained = read_json(folder / "t.json");
    const auto before = tree(run);
    const std::string printed = expect_done(infer(dataset, run, "logits", folder / "logits.npy") +
                                            Arguments{"--threads", "1", "--summary", folder / "i.json"});
    CHECK(printed.find("logits of 3,000 nodes") != std::string::npos);
    expect_done(infer(dataset, run, "predictions", folder / "predictions.npy"));
    expect_done(infer(dataset, run, "embeddings", folder / "embeddings.npy"));
    CHECK(tree(run) == before);

    const Npy logits = read_npy(folder / "logits.npy");
    CHECK(logits.dtype == "<f4");
    CHECK(logits.shape == std::vector<std::size_t>{nodes, classes});
    CHECK(read_npy(folder / "embeddings.npy").shape == std::vector<std::size_t>{nodes, 24});
    const Npy predictions = read_npy(folder / "predictions.npy");
    CHECK(predictions.dtype == "<i4");
    CHECK(predictions.shape == std::vector<std::size_t>{nodes});
    const auto values = logits.values<float>();
    const auto chosen = predictions.values<std::int32_t>();
    std::size_t differing = 0;
    for (std::size_t node = 0; node < nodes; ++node) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(node * classes);
      const auto best = std::max_element(first, first + static_cast<std::ptrdiff_t>(classes)) - first;
      differing += chosen[node] == best ? 0 : 1;
    }
    CHECK(differing == 0);
    CHECK(accuracy(data, Split::test, chosen) ==
          doctest::Approx(trained.at("test_accuracy").get<double>()).epsilon(1e-12));
    CHECK(accuracy(data, Split::valid, chosen) ==
          doctest::Approx(trained.at("valid_accuracy").get<double>()).epsilon(1e-12));

    // Threads change no byte.
    expect_done(infer(dataset, run, "logits", folder / "threads.npy") + Arguments{"--threads", "3"});
    CHECK(read_text_file(folder / "threads.npy") == read_text_file(folder / "logits.npy"));
    const auto summary = read_json(folder / "i.json");
    CHECK(summary.at("nodes") == nodes);
    CHECK(summary.at("layers").size() == 2);
    for (const auto& layer : summary.at("layers")) {
      CHECK(layer.at("bytes_read") >= layer.at("one_pass_bytes_read"));
    }
  }
}

TEST_CASE("labels of yes and no: predictions are 0 and 1, and ROC-AUC over all nodes of a split") {
  const TemporaryFolder folder;
  const std::filesystem::path source = folder / "source";
  std::filesystem::create_directory(source);
  constexpr std::uint64_t nodes = 600;
  constexpr std::uint64_t columns = 3;
  RandomStream random(4);
  std::vector<float> features(nodes * 8);
  std::vector<float> labels(nodes * columns);
  std::vector<std::int64_t> edges(2 * 4000);
  for (float& value : features) value = static_cast<float>(random.uniform() - 0.5);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels[i] = i % columns != 0 && random.below(5) == 0
                    ? std::nanf("")
                    : (features[i / columns * 8 + i % columns] > 0 ? 1.0F : 0.0F);
  }
  for (std::int64_t& node : edges) node = static_cast<std::int64_t>(random.below(nodes));
  const auto write = [&](const char* name, Dtype dtype, std::vector<std::uint64_t> shape,
                         const auto& values) {
    write_npy(source / name, dtype, shape, std::as_bytes(std::span(values)));
  };
  write("edge_index.npy", Dtype::i64, {2, 4000}, edges);
  write("node_feat.npy", Dtype::f32, {nodes, 8}, features);
  write("node_label.npy", Dtype::f32, {nodes, columns}, labels);
  std::vector<std::int64_t> ids(nodes);
  for (std::size_t i = 0; i < nodes; ++i) ids[i] = static_cast<std::int64_t>(i);
  write("train_idx.npy", Dtype::i64, {300}, std::vector<std::int64_t>(ids.begin(), ids.begin() + 300));
  write("val_idx.npy", Dtype::i64, {100}, std::vector<std::int64_t>(ids.begin() + 300, ids.begin() + 400));
  write("test_idx.npy", Dtype::i64, {200}, std::vector<std::int64_t>(ids.begin() + 400, ids.end()));
  const std::string dataset = folder / "d.gneiss";
  expect_done({"import", "npy", source, dataset});
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "5,5", "--batch-size", "50"});
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "3", "--lr", "0.01",
               "--hidden", "16", "--eval", "exact", "--run", folder / "run", "--summary", folder / "t.json"});
  const auto trained = read_json(folder / "t.json");
  expect_done(infer(dataset, folder / "run", "predictions", folder / "p.npy"));
  expect_done(infer(dataset, folder / "run", "logits", folder / "l.npy"));
  const Npy predictions = read_npy(folder / "p.npy");
  CHECK(predictions.dtype == "|u1");
  CHECK(predictions.shape == std::vector<std::size_t>{nodes, columns});
  const auto answers = predictions.values<std::uint8_t>();
  const auto logits = read_npy(folder / "l.npy").values<float>();
  double right = 0;
  double labelled = 0;
  double area = 0;
  for (std::size_t column = 0; column < columns; ++column) {
    double above = 0;
    double pairs = 0;
    for (std::size_t i = 400; i < nodes; ++i) {
      const std::size_t at = i * columns + column;
      CHECK(answers[at] == (logits[at] > 0 ? 1 : 0));
      if (std::isnan(labels[at])) continue;
      ++labelled;
      right += answers[at] == static_cast<std::uint8_t>(labels[at]) ? 1 : 0;
      for (std::size_t j = 400; j < nodes && labels[at] == 1; ++j) {
        const std::size_t other = j * columns + column;
        if (labels[other] != 0) continue;
        ++pairs;
        above += logits[at] > logits[other] ? 1 : logits[at] == logits[other] ? 0.5 : 0;
      }
    }
    area += above / pairs / static_cast<double>(columns);
  }
  CHECK(trained.at("test_accuracy").get<double>() == doctest::Approx(right / labelled).epsilon(1e-12));
  CHECK(trained.at("test_rocauc").get<double>() == doctest::Approx(area).epsilon(1e-9));
}

TEST_CASE("exact evaluation is interrupted and resumed to the same numbers") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const auto train = [&](const std::string& run, const std::string& epochs, const Arguments& more = {}) {
    expect_done(Arguments{"train", "--dataset", dataset, "--preparation", "P", "--hidden", "16", "--eval",
                          "exact", "--epochs", epochs, "--run", folder / run, "--summary",
                          folder / (run + ".json")} +
                more);
    return read_json(folder / (run + ".json"));
  };
  const auto whole = train("whole", "4");
  train("parts", "2");
  const auto resumed = train("parts", "4", {"--resume"});
  CHECK(resumed.at("test_accuracy") == whole.at("test_accuracy"));
  CHECK(resumed.at("valid_accuracy") == whole.at("valid_accuracy"));
  CHECK(resumed.at("best_epoch") == whole.at("best_epoch"));
  expect_refused({"train", "--dataset", dataset, "--preparation", "P", "--hidden", "16", "--epochs", "6",
                  "--run", folder / "parts", "--resume"},
                 2, "");
}

TEST_CASE("what exact evaluation makes use of is in the plan: the peak stays below it") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--model", "gat", "--num-heads", "4",
               "--hidden", "512", "--eval", "exact", "--epochs", "1", "--summary", folder / "s.json"});
  const auto summary = read_json(folder / "s.json");
  CHECK(summary.at("peak_memory_bytes") <= summary.at("planned_memory_bytes"));
}

TEST_CASE("what a run was before --force is never what infer runs, and a refused --force leaves it") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::string run = folder / "run";
  const Arguments train{"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run", run};
  expect_done(train);
  const auto before = tree(run);
  expect_done({"prepare", "--dataset", dataset, "--name", "B", "--fanout", "3,3", "--batch-size", "200",
               "--cpu-cache", "8KiB", "--residency", "belady"});
  expect_refused({"train", "--dataset", dataset, "--preparation", "B", "--shuffle", "--run", run, "--force"},
                 2, "belady");
  expect_refused(train + Arguments{"--force", "--lr", "-1"}, 2, "learning rate");
  CHECK(tree(run) == before);
  const Arguments logits = infer(dataset, run, "logits", folder / "o.npy");
  expect_done(logits);
  expect_done(train + Arguments{"--force", "--runs", "2"});
  expect_refused(logits, 2, "holds several runs");
  expect_done(train + Arguments{"--force"});
  CHECK(tree(run) == before);
}

TEST_CASE("what infer cannot do is refused in one sentence, and nothing is written") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  const std::string other = folder / "other.gneiss";
  make_small_dataset(dataset);
  expect_done({"generate", other, "--nodes", "300", "--features", "9", "--classes", "3"});
  const std::string run = folder / "run";
  expect_done(
      {"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--hidden", "16", "--run", run});
  std::map<std::string, std::string> runs_of;
  for (const std::string model : {"gcn", "gat", "gin", "mlp"}) {
    runs_of[model] = folder / ("run-" + model);
    expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--hidden", "16",
                 "--model", model, "--run", runs_of[model]});
  }
  const std::string out = folder / "out.npy";
  const auto before = tree(folder.path());
  expect_refused(infer(dataset, folder / "none", "logits", out), 2, "holds no run");
  expect_refused(infer(other, run, "logits", out), 3, "trained on rows of");
  for (const char* model : {"gcn", "gat", "gin", "mlp"}) {
    CAPTURE(std::string(model));
    expect_refused(infer(other, runs_of.at(model), "logits", out), 3, "trained on rows of");
  }
  expect_refused(infer(dataset, run, "logits", folder / "none" / "out.npy"), 2, "does not exist");
  std::filesystem::create_symlink("/dev/null", folder / "link");
  expect_refused(infer(dataset, run, "logits", folder / "link"), 2, "no regular file");
  std::filesystem::remove(folder / "link");
  expect_refused(infer(dataset, run, "logits", out) + Arguments{"--memory", "20MiB"}, 2, "would do");
  expect_refused(infer(dataset, run, "logits", out) + Arguments{"--checkpoint", folder / "none"}, 3, "");
  CHECK(tree(folder.path()) == before);
  // As many columns, of other classes: nothing is damaged.
  const std::string classes = folder / "classes.gneiss";
  expect_done({"generate", classes, "--nodes", "300", "--features",
               std::to_string(Dataset::open(dataset).info().feature_dim), "--classes", "3"});
  expect_refused(infer(classes, run, "logits", out), 3, "best.safetensors was trained to tell");
  for (const auto& [model, at] : runs_of) {
    CAPTURE(model);
    expect_refused(infer(classes, at, "logits", out), 3, "was trained to tell");
  }
  // A value that cannot be is the file's, in which a person has written, and no option's.
  const std::string config = folder / "run-gat" / "config.yaml";
  const std::string text = read_text_file(config);
  for (const char* bad : {"model: cnn", "activation: step", "norm: group", "aggregator: sum", "hidden: 0",
                          "num_heads: 3", "task: multi-label"}) {
    CAPTURE(std::string(bad));
    const std::string key = std::string(bad).substr(0, std::string(bad).find(' '));
    const std::size_t line = text.find("\n" + key) + 1;
    std::string changed = text;
    changed.replace(line, text.find('\n', line) - line, bad);
    write_text_file(config, changed.substr(changed.find('\n') + 1));  // without its checksum
    expect_refused(infer(dataset, folder / "run-gat", "logits", out), 3, "run-gat/config.yaml: ");
  }
  const auto checkpoint = std::filesystem::path(run) / "best.safetensors";
  std::filesystem::resize_file(checkpoint, std::filesystem::file_size(checkpoint) - 8);
  expect_refused(infer(dataset, run, "logits", out), 4, "safetensors");
  CHECK_FALSE(std::filesystem::exists(out));
}

TEST_CASE("a run's config.yaml that its weights do not fit is refused before a model is made of it") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  make_small_dataset(dataset);
  const std::filesystem::path run = folder / "run";
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--hidden", "16",
               "--model", "gat", "--run", run});
  const std::string whole = read_text_file(run / "config.yaml");
  struct Edit {
    std::string from, to;
    int exit_code;
    const char* part;
  };
  const std::vector<Edit> edits{
      {"hidden: 16", "hidden: 20000000", 3, "hidden is 20000000; a run has 1 to 65536"},
      {"hidden: 16", "hidden: 0", 3, "config.yaml: hidden is 0"},
      {"hidden: 16", "hidden: 18", 3, "shared by num_heads 4"},
      {"hidden: 16", "hidden: 65536", 4, "tensor 'convs.0.lin.weight' is f32 [16, "},
      {"hidden: 16", "hidden: -1", 3, "'hidden' cannot be read"},
      {"num_heads: 4", "num_heads: 65", 3, "shared by num_heads 65"},
      {"num_heads: 4", "num_heads: 8", 4, "tensor 'convs.0.att_src'"},
      {"residual: false", "residual: true", 4, "no tensor 'residuals.0.weight'"},
      {"model: gat", "model: gas", 3, "no model 'gas'"},
      {"norm: none", "norm: batch", 4, "no tensor 'norms.0.module.weight'"}};
  for (const Edit& edit : edits) {
    CAPTURE(edit.to);
    std::string text = whole.substr(whole.find('\n') + 1);  // without the checksum
    const std::size_t at = text.find(edit.from);
    REQUIRE(at != std::string::npos);
    write_text_file(run / "config.yaml", text.replace(at, edit.from.size(), edit.to));
    const std::string sentence =
        expect_refused(infer(dataset, run, "logits", folder / "o.npy") + Arguments{"--memory", "64MiB"},
                       edit.exit_code, edit.part);
    CHECK(sentence.find("config.yaml") != std::string::npos);
  }
}

TEST_CASE(
    "weights as large as the memory: a run, its resume and infer stay within the least that they name") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  // 25 MiB of weights, and as much of each moment.
  expect_done({"generate", dataset, "--nodes", "4000", "--avg-degree", "1", "--features", "4", "--classes",
               "1600", "--train-share", "0.01", "--valid-share", "0.01", "--test-share", "0.01"});
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "1,1", "--batch-size", "40",
               "--sample-epochs", "1"});
  const auto expect_within_least = [&](const Arguments& command) {
    const std::string sentence = expect_refused(command + Arguments{"--memory", "1MiB"}, 2, "MiB would do");
    const std::size_t end = sentence.find("MiB would do");
    const std::string least =
        sentence.substr(sentence.rfind(' ', end) + 1, end - sentence.rfind(' ', end) - 1);
    expect_done(command + Arguments{"--memory", least + "MiB", "--summary", folder / "s.json"});
    CHECK(read_json(folder / "s.json").at("peak_memory_bytes").get<std::uint64_t>() <= std::stoull(least)
                                                                                           << 20);
  };
  const std::string run = folder / "run";
  const Arguments train{"train", "--dataset",   dataset, "--preparation", "P", "--model", "gat", "--hidden",
                        "256",   "--num-heads", "16",    "--run",         run, "--epochs"};
  expect_within_least(train + Arguments{"1"});
  expect_within_least(train + Arguments{"2", "--resume"});
  expect_within_least(infer(dataset, run, "logits", folder / "o.npy"));
}

TEST_CASE(
    "rows, edges and layers larger than the memory: infer stays in its control group, and leaves nothing "
    "when it is stopped") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::string dataset = folder / "d.gneiss";
  // 110 MiB of features, as much of each layer's output, 37 MiB of edges.
  expect_done({"generate", dataset, "--nodes", "150000", "--avg-degree", "60", "--features", "192",
               "--classes", "8", "--train-share", "0.003", "--valid-share", "0.001", "--test-share",
               "0.001"});
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "3,3", "--batch-size", "100"});
  const std::string run = folder / "run";
  expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--hidden", "192",
               "--run", run});
  constexpr std::uint64_t limit = 112U << 20;
  const auto capped =
      run_with_memory_cap(limit,
                          Arguments{program()} + infer(dataset, run, "logits", folder / "capped.npy") +
                              Arguments{"--memory", "96MiB", "--summary", folder / "i.json"},
                          {dataset});
  const auto before = tree(folder.path());
  // Killed or interrupted in the middle of the work.
  for (const auto& [signal, exit_code] : {std::pair{SIGINT, 130}, std::pair{SIGKILL, 128 + SIGKILL}}) {
    const auto stopped =
        signal_when(infer(dataset, run, "logits", folder / "stopped.npy") + Arguments{"--memory", "96MiB"},
                    signal, after(std::chrono::milliseconds(400)));
    CHECK(stopped.exit_code == exit_code);
    CHECK(tree(folder.path()) == before);
  }
  if (!capped) SKIP_TEST("no memory control group can be made here");
  CHECK_MESSAGE(capped->exit_code == 0, capped->output);
  CHECK(capped->peak_bytes <= limit);
  const auto summary = read_json(folder / "i.json");
  CHECK(summary.at("peak_memory_bytes").get<std::uint64_t>() <= (96U << 20));
  CHECK(summary.at("layers").at(0).at("runs").get<std::size_t>() > 3);
  // The same numbers as with memory to spare, but for the order of sums.
  expect_done(infer(dataset, run, "logits", folder / "free.npy") + Arguments{"--memory", "1GiB"});
  CHECK(largest_difference(read_npy(folder / "free.npy"), read_npy(folder / "capped.npy")) < 1e-4);
}

TEST_CASE("rows of many columns in every shape: infer's peak stays under the memory that it is given") {
  struct Shape {
    std::string dtype, columns, hidden, classes, model;
  };
  // Halves of more columns than are hidden; products first in both layers; hidden layers wider than rows.
  const std::vector<Shape> shapes{{"f16", "1024", "64", "40", "sage"},
                                  {"bf16", "768", "256", "8", "gcn"},
                                  {"f32", "64", "768", "8", "sage"}};
  for (const Shape& shape : shapes) {
    CAPTURE(shape.dtype);
    CAPTURE(shape.hidden);
    const TemporaryFolder folder;
    const std::string dataset = folder / "d.gneiss";
    expect_done({"generate", dataset, "--nodes", "40000", "--avg-degree", "10", "--features", shape.columns,
                 "--feature-dtype", shape.dtype, "--classes", shape.classes, "--train-share", "0.005",
                 "--valid-share", "0.005", "--test-share", "0.005"});
    expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "2,2", "--batch-size", "50"});
    const std::string run = folder / "run";
    expect_done({"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--model", shape.model,
                 "--hidden", shape.hidden, "--run", run});
    expect_done(infer(dataset, run, "logits", folder / "o.npy") +
                Arguments{"--memory", "96MiB", "--summary", folder / "i.json"});
    const auto summary = read_json(folder / "i.json");
    CHECK(summary.at("planned_memory_bytes").get<std::uint64_t>() <= (96U << 20));
    CHECK(summary.at("peak_memory_bytes").get<std::uint64_t>() <= (96U << 20));
  }
}
