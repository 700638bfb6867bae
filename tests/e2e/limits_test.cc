// The smallest, emptiest, widest and most lopsided graphs go all the way, from import to a trained model, and
// every batch is the graph's; what is too large or too little is refused with what would do.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <regex>

#include "storage/format/npy_writer.h"
#include "storage/io/file.h"
#include "tests/e2e/inspected_batch.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

struct Graph {
  const char* name;
  std::uint64_t nodes;
  std::vector<std::int64_t> from{};
  std::vector<std::int64_t> to{};
  std::uint64_t columns = 3;
  std::int64_t classes = 2;
  std::int64_t train = 1;  // so many of the first nodes; the last is for validation and test
};

struct Source {
  std::filesystem::path folder;
  std::string rows;
  std::vector<std::int64_t> labels;
};

Source write_source(const std::filesystem::path& folder, const Graph& graph) {
  std::filesystem::create_directory(folder);
  Source source{.folder = folder, .rows = {}, .labels = {}};
  std::vector<std::int64_t> ends = graph.from;
  ends.insert(ends.end(), graph.to.begin(), graph.to.end());
  const std::array<std::uint64_t, 2> edges{2, graph.to.size()};
  write_npy(folder / "edge_index.npy", Dtype::i64, edges, std::as_bytes(std::span(ends)));
  std::vector<float> values(graph.nodes * graph.columns);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 101) / 8;
  const std::array<std::uint64_t, 2> rows{graph.nodes, graph.columns};
  const auto bytes = std::as_bytes(std::span(values));
  write_npy(folder / "node_feat.npy", Dtype::f32, rows, bytes);
  source.rows.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto nodes = static_cast<std::int64_t>(graph.nodes);
  for (std::int64_t node = 0; node < nodes; ++node) source.labels.push_back(node % graph.classes);
  write_npy_vector<std::int64_t>(folder / "node_label.npy", Dtype::i64, source.labels);
  std::vector<std::int64_t> train(static_cast<std::size_t>(graph.train));
  std::iota(train.begin(), train.end(), 0);
  write_npy_vector<std::int64_t>(folder / "train_idx.npy", Dtype::i64, train);
  const std::vector<std::int64_t> last{nodes - 1};
  write_npy_vector<std::int64_t>(folder / "val_idx.npy", Dtype::i64, last);
  write_npy_vector<std::int64_t>(folder / "test_idx.npy", Dtype::i64, last);
  return source;
}

std::vector<Graph> odd_graphs() {
  std::vector<Graph> graphs{
      {.name = "one node, no edge", .nodes = 1},
      {.name = "one node, its self-loop", .nodes = 1, .from = {0}, .to = {0}},
      {.name = "nodes without edges", .nodes = 40, .train = 30},
      {.name = "self-loops only", .nodes = 3, .from = {0, 1, 2}, .to = {0, 1, 2}, .train = 2},
      {.name = "one edge, many times",
       .nodes = 4,
       .from = std::vector<std::int64_t>(50, 3),
       .to = std::vector<std::int64_t>(50, 1),
       .train = 3},
      {.name = "one class", .nodes = 5, .from = {0, 1, 2, 3}, .to = {1, 2, 3, 4}, .classes = 1, .train = 4},
      {.name = "one column", .nodes = 5, .from = {0, 1, 2, 3}, .to = {1, 2, 3, 4}, .columns = 1, .train = 4},
      {.name = "4,096 columns",
       .nodes = 5,
       .from = {0, 1, 2, 3},
       .to = {1, 2, 3, 4},
       .columns = 4096,
       .train = 4},
  };
  Graph star{.name = "a star", .nodes = 300, .train = 200};
  for (std::int64_t node = 1; node < 300; ++node) {
    star.from.push_back(node);
    star.to.push_back(0);
  }
  graphs.push_back(std::move(star));
  return graphs;
}

std::uint64_t said_to_do(const std::string& sentence) {
  std::smatch found;
  REQUIRE_MESSAGE(std::regex_search(sentence, found, std::regex("([0-9.]+) ?MiB would do")), sentence);
  return static_cast<std::uint64_t>(std::stod(found[1]));
}

}  // namespace

TEST_CASE("odd graphs go from import to a trained model, and every batch is the graph's") {
  for (const Graph& graph : odd_graphs()) {
    CAPTURE(graph.name);
    const TemporaryFolder folder;
    const Source source = write_source(folder / "source", graph);
    const std::string dataset = folder / "d.gneiss";
    expect_done({"import", "npy", source.folder, dataset});
    const Neighbors neighbors = read_neighbors(source.folder / "edge_index.npy", false);
    // Fewer rows than a cache, and batches, fanouts and caches beyond all there is.
    for (const auto& [name, fanout, batch, cache] : {std::tuple{"small", "1,1", "1", "0"},
                                                     {"large", "1000,1000", "100000", "1GiB"},
                                                     {"all", "-1", "7", "16"}}) {
      CAPTURE(name);
      expect_done({"prepare", "--dataset", dataset, "--name", name, "--fanout", fanout, "--batch-size", batch,
                   "--cpu-cache", cache, "--sample-epochs", "1"});
      expect_done({"inspect", "--dataset", dataset, "--preparation", name, "--out", folder / name});
      const std::vector<int> fanouts = std::string(name) == "small"   ? std::vector{1, 1}
                                       : std::string(name) == "large" ? std::vector{1000, 1000}
                                                                      : std::vector{-1};
      CHECK(find_fault(folder / name, source.rows, 4 * graph.columns, source.labels, neighbors, fanouts) ==
            "");
      for (const char* model : {"sage", "gcn", "gat", "gin"}) {
        CAPTURE(model);
        expect_done({"train", "--dataset", dataset, "--preparation", name, "--model", model, "--hidden", "4",
                     "--epochs", "2", "--run", folder / (std::string(name) + model)});
        const auto summary =
            nlohmann::json::parse(read_text_file(folder / (std::string(name) + model) / "summary.json"));
        CHECK(summary.at("epochs").size() == 2);
      }
    }
    expect_done({"verify", "--dataset", dataset});
  }
}

TEST_CASE("more nodes than ids of 32 bits have are refused in one sentence") {
  const TemporaryFolder folder;
  expect_refused({"generate", folder / "d.gneiss", "--nodes", "4294967297"}, 2, "ids are 32 bits");
  // Features of 2^32 + 1 nodes as a hole of 4 GiB.
  const Source source =
      write_source(folder / "source", {.name = "", .nodes = 2, .from = {0}, .to = {1}, .train = 1});
  const std::array<std::uint64_t, 2> rows{2, 1};
  const std::vector<std::uint16_t> values(2);
  write_npy(source.folder / "node_feat.npy", Dtype::f16, rows, std::as_bytes(std::span(values)));
  std::string header = read_text_file(source.folder / "node_feat.npy").substr(0, 128);
  constexpr std::uint64_t nodes = (std::uint64_t{1} << 32) + 1;
  const std::size_t shape = header.find("(2, 1,)");
  REQUIRE(shape != std::string::npos);
  const std::string longer = "(" + std::to_string(nodes) + ", 1,)";
  header.replace(shape, 7, longer);
  header.erase(header.size() - 1 - (longer.size() - 7), longer.size() - 7);  // of the padding
  write_text_file(source.folder / "node_feat.npy", header);
  std::filesystem::resize_file(source.folder / "node_feat.npy", header.size() + 2 * nodes);
  expect_refused({"import", "npy", source.folder, folder / "e.gneiss"}, 3, std::to_string(nodes));
  CHECK_FALSE(std::filesystem::exists(folder / "e.gneiss"));
  CHECK_FALSE(std::filesystem::exists(folder / "e.gneiss.partial"));
}

TEST_CASE("nodes without edges, nearly all of them in a split, stay within the least that is named") {
  const TemporaryFolder folder;
  const auto expect_least = [&](const Arguments& command) {
    CAPTURE(command.front());
    Arguments limited = command;
    limited.insert(limited.end(), {"--summary", folder / "s.json", "--memory", "3MiB"});
    const std::uint64_t least = said_to_do(expect_refused(limited, 2, "would do"));
    limited.back() = std::to_string(least) + "MiB";
    expect_done(limited);
    const auto summary = nlohmann::json::parse(read_text_file(folder / "s.json"));
    CHECK(summary.at("peak_memory_bytes").get<std::uint64_t>() <= least << 20);
  };
  const std::string generated = folder / "g.gneiss";
  // So many that ids held once more show beside what the program takes itself.
  expect_least({"generate", generated, "--nodes", "6000000", "--avg-degree", "0", "--features", "1",
                "--classes", "2", "--train-share", "0.96", "--valid-share", "0.02", "--test-share", "0.02"});
  expect_least({"prepare", "--dataset", generated, "--name", "P", "--fanout", "1", "--batch-size", "20000",
                "--sample-epochs", "1", "--no-evaluation"});
  const std::string run = folder / "run";
  expect_least({"train", "--dataset", generated, "--preparation", "P", "--model", "mlp", "--hidden", "8",
                "--epochs", "1", "--device", "cpu", "--run", run});
  expect_least({"train", "--dataset", generated, "--preparation", "P", "--model", "mlp", "--hidden", "8",
                "--epochs", "2", "--device", "cpu", "--resume", "--run", run});
  const Source source = write_source(
      folder / "source",
      {.name = "", .nodes = 2'500'000, .from = {0}, .to = {1}, .columns = 1, .train = 2'400'000});
  expect_least({"import", "npy", source.folder, folder / "i.gneiss"});
}

TEST_CASE("a budget of a few MiB is refused with the least that works, and that works") {
  const TemporaryFolder folder;
  const std::string dataset = folder / "d.gneiss";
  const auto expect_least = [](const Arguments& command) {
    Arguments limited = command;
    limited.insert(limited.end(), {"--memory", "3MiB"});
    const std::uint64_t least = said_to_do(expect_refused(limited, 2, "would do"));
    CHECK(least > 3);
    limited.back() = std::to_string(least) + "MiB";
    expect_done(limited);
  };
  expect_least({"generate", dataset, "--nodes", "3000", "--features", "24", "--train-share", "0.3"});
  expect_least({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "5,5", "--batch-size", "100",
                "--cpu-cache", "20KiB"});
  expect_least(
      {"train", "--dataset", dataset, "--preparation", "P", "--epochs", "1", "--run", folder / "run"});
  const Source source =
      write_source(folder / "source", {.name = "", .nodes = 9, .from = {0, 1}, .to = {1, 2}, .train = 3});
  expect_least({"import", "npy", source.folder, folder / "i.gneiss"});
}
