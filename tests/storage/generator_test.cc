#include "storage/import/generator.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/storage/import_fixtures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace gneiss {
namespace {

using namespace gneiss::test;

GeneratorOptions small(std::uint64_t nodes = 5000) {
  GeneratorOptions options;
  options.graph.node_count = nodes;
  options.graph.feature_dim = 20;
  options.graph.class_count = 8;
  options.thread_count = 1;
  return options;
}

std::vector<std::string> generate(const GeneratorOptions& options) {
  const TemporaryFolder folder;
  generate_dataset(options, folder / "g");
  std::vector<std::string> files;
  for (const char* name : {graph_file_name, features_file_name, labels_file_name}) {
    files.push_back(read_file(folder / "g" / name));
  }
  const Dataset dataset = Dataset::open(folder / "g");
  for (const Split split : all_splits) {
    std::string ids;
    for (const NodeId node : dataset.split(split)) ids += std::to_string(to_index(node)) + " ";
    files.push_back(ids);
  }
  return files;
}

}  // namespace

TEST_CASE("a shuffle is a permutation, and backward() undoes forward()") {
  for (const std::uint64_t count : {1, 2, 3, 7, 64, 65, 1000, 4097}) {
    for (const std::uint64_t key : {1, 2}) {
      const IdShuffle shuffle(count, key);
      std::set<std::uint64_t> seen;
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t image = shuffle.forward(i);
        REQUIRE(image < count);
        REQUIRE(shuffle.backward(image) == i);
        seen.insert(image);
      }
      CHECK(seen.size() == count);
    }
  }
  const IdShuffle large(max_node_count, 3);
  CHECK(large.backward(large.forward(0xFFFFFFFF)) == 0xFFFFFFFF);
}

TEST_CASE("powers without libm agree with libm") {
  for (int i = 0; i <= 1000; ++i) {
    const double x = i / 1000.0;
    for (const double y : {0.05, 0.4, 1.0, 2.5, 20.0}) {
      CHECK(stable_power(x, y) == doctest::Approx(std::pow(x, y)).epsilon(1e-13));
    }
  }
  CHECK(stable_power(1e-300, 20) == 0);
  CHECK(stable_power(0, 0.5) == 0);
}

TEST_CASE("the same seed gives the same bytes whatever the threads and the memory") {
  GeneratorOptions options = small();
  const auto expected = generate(options);
  options.thread_count = 3;
  options.memory_bytes = 256 << 10;
  CHECK(generate(options) == expected);
  options.graph.seed = 2;
  const auto other = generate(options);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(other[i] != expected[i]);
}

TEST_CASE("degrees, homophily, communities and splits are what was asked for") {
  const TemporaryFolder folder;
  GeneratorOptions options = small(40'000);
  options.graph.community_count = 80;
  options.train_share = 0.125;
  options.directed = true;
  const GeneratorReport report = generate_dataset(options, folder / "g");
  const DatasetStatistics& statistics = report.statistics;
  CHECK(statistics.train_nodes == 5000);
  CHECK(statistics.valid_nodes == 800);
  CHECK(static_cast<double>(statistics.source_edges) == doctest::Approx(15 * 40'000).epsilon(0.01));
  CHECK(statistics.degree_max > 20 * statistics.degree_median);

  const PlantedGraph graph(options.graph);
  const Dataset dataset = Dataset::open(folder / "g");
  const auto indptr = dataset.read_indptr();
  const AlignedBuffer bytes = dataset.graph().read_section(dataset.graph().require(SectionKind::csc_indices));
  const auto indices = bytes.as<std::uint32_t>();
  std::uint64_t same = 0;
  bool any_loop = false;
  for (std::uint64_t node = 0; node < 40'000; ++node) {
    for (std::uint64_t e = indptr[node]; e < indptr[node + 1]; ++e) {
      if (graph.class_of(indices[e]) == graph.class_of(node)) ++same;
      any_loop = any_loop || indices[e] == node;
    }
  }
  CHECK(!any_loop);
  // Deduplication removes a little more within communities than across.
  CHECK(static_cast<double>(same) / static_cast<double>(indices.size()) ==
        doctest::Approx(0.6).epsilon(0.08));

  const auto labels = dataset.read_labels().classes;
  std::uint64_t clean = 0;
  std::vector<std::uint64_t> of_class(8);
  for (std::uint64_t node = 0; node < 40'000; ++node) {
    if (labels[node] == static_cast<std::int32_t>(graph.class_of(node))) ++clean;
    ++of_class[graph.class_of(node)];
  }
  CHECK(static_cast<double>(clean) / 40'000 == doctest::Approx(report.best_accuracy).epsilon(0.01));
  for (const std::uint64_t count : of_class) CHECK(count == 5000);
}

TEST_CASE("the tail of the degrees follows the skew") {
  // P(degree > d) ~ d^(-1 / skew): between two quantiles of the top, log-log, the slope gives the skew back.
  GeneratorOptions options = small(200'000);
  options.graph.feature_dim = 1;
  options.directed = true;
  for (const double skew : {0.0, 0.6}) {
    const TemporaryFolder folder;
    options.graph.degree_skew = skew;
    options.graph.class_count = 1;
    generate_dataset(options, folder / "g");
    const auto indptr = Dataset::open(folder / "g").read_indptr();
    std::vector<double> degrees;
    for (std::size_t i = 0; i + 1 < indptr.size(); ++i) {
      degrees.push_back(static_cast<double>(indptr[i + 1] - indptr[i]));
    }
    std::ranges::sort(degrees, std::greater());
    if (skew == 0) {
      CHECK(degrees[0] < 60);
    } else {
      const double slope = std::log(degrees[100] / degrees[10'000]) / std::log(100.0);
      CHECK(slope == doctest::Approx(skew).epsilon(0.1));
    }
  }
}

TEST_CASE("features have the planted means and unit noise, in every dtype") {
  PlantedOptions options;
  options.node_count = 20'000;
  options.feature_dim = 16;
  options.class_count = 2;
  options.signal = 4;
  const PlantedGraph graph(options);
  std::vector<float> row(16);
  double squares = 0;
  std::uint64_t right = 0;
  for (std::uint64_t node = 0; node < options.node_count; ++node) {
    graph.draw_features(node, row);
    if (graph.classify(row) == graph.class_of(node)) ++right;
    squares += double{row[3]} * row[3];
  }
  const double count = 20'000;
  CHECK(squares / count ==
        doctest::Approx(1 + 1).epsilon(0.03));  // the noise's 1, the mean's (4 / sqrt 16)^2
  CHECK(static_cast<double>(right) / count > 0.95);
}

TEST_CASE("options that cannot be are refused by name") {
  const TemporaryFolder folder;
  const auto refuse = [&](auto change, const char* part) {
    GeneratorOptions options = small();
    change(options);
    EXPECT_ERROR(generate_dataset(options, folder / "g"), Kind::config, part);
    CHECK(std::filesystem::is_empty(folder.path()));
  };
  refuse([](auto& o) { o.graph.node_count = 0; }, "--nodes");
  refuse([](auto& o) { o.graph.node_count = max_node_count + 1; }, "32 bits");
  refuse([](auto& o) { o.graph.node_count = 5; }, "as many nodes");
  refuse([](auto& o) { o.graph.average_degree = -1; }, "--avg-degree");
  refuse([](auto& o) { o.graph.average_degree = std::nan(""); }, "--avg-degree");
  refuse([](auto& o) { o.graph.degree_skew = 1; }, "--degree-skew");
  refuse([](auto& o) { o.graph.feature_dim = 0; }, "--features");
  refuse([](auto& o) { o.graph.class_count = 0; }, "--classes");
  refuse([](auto& o) { o.graph.community_count = 3; }, "--communities");
  refuse([](auto& o) { o.graph.homophily = 1.5; }, "--homophily");
  refuse([](auto& o) { o.graph.label_noise = -0.1; }, "--label-noise");
  refuse([](auto& o) { o.train_share = 0; }, "--train-share");
  refuse([](auto& o) { o.train_share = 0.99; }, "may not exceed 1");
}

}  // namespace gneiss
