// What the engine hands to the first layer is what the source's files say, bit for bit.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>

#include "storage/base/dtype.h"
#include "storage/base/random.h"
#include "storage/format/npy_writer.h"
#include "tests/e2e/inspected_batch.h"
#include "tests/e2e/npy.h"
#include "tests/e2e/program.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint64_t nodes = 250;

// A folder as `import npy` takes it: random edges, features whose every value fits `dtype`.
struct Source {
  std::filesystem::path folder;
  std::vector<std::int64_t> labels{};
  std::string rows{};  // as `inspect` should write them: bf16 as f32
  std::size_t row_bytes = 0;
};

Source write_source(const std::filesystem::path& folder, std::uint64_t dim, Dtype dtype) {
  std::filesystem::create_directory(folder);
  RandomStream random(dim);
  constexpr std::uint64_t edges = 2000;
  std::vector<std::int64_t> ends(2 * edges);
  for (auto& end : ends) end = static_cast<std::int64_t>(random.below(nodes));
  const std::array<std::uint64_t, 2> edge_shape{2, edges};
  write_npy(folder / "edge_index.npy", Dtype::i64, edge_shape, std::as_bytes(std::span(ends)));

  Source source{.folder = folder};
  std::vector<float> values(nodes * dim);
  std::vector<std::uint16_t> halves;
  for (float& value : values) {
    value = static_cast<float>(static_cast<std::int64_t>(random.below(4001)) - 2000) / 256.0F;
    if (dtype == Dtype::bf16) value = from_bf16(to_bf16(value));
    if (dtype == Dtype::f16) halves.push_back(to_f16(value));
  }
  const std::array<std::uint64_t, 2> shape{nodes, dim};
  const auto bytes =
      dtype == Dtype::f16 ? std::as_bytes(std::span(halves)) : std::as_bytes(std::span(values));
  write_npy(folder / "node_feat.npy", dtype == Dtype::f16 ? Dtype::f16 : Dtype::f32, shape, bytes);
  source.rows.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  source.row_bytes = bytes.size() / nodes;

  for (std::uint64_t node = 0; node < nodes; ++node)
    source.labels.push_back(static_cast<std::int64_t>(node % 5));
  write_npy_vector<std::int64_t>(folder / "node_label.npy", Dtype::i64, source.labels);
  const auto write_split = [&](const char* name, std::int64_t first, std::int64_t end) {
    std::vector<std::int64_t> ids;
    for (std::int64_t id = first; id < end; ++id) ids.push_back(id * 7 % static_cast<std::int64_t>(nodes));
    write_npy_vector<std::int64_t>(folder / name, Dtype::i64, ids);
  };
  write_split("train_idx.npy", 0, 100);
  write_split("val_idx.npy", 100, 130);
  write_split("test_idx.npy", 130, 160);
  return source;
}

}  // namespace

TEST_CASE("inspected batches equal the source for every width and type, with and without a cache") {
  const TemporaryFolder folder;
  for (const auto& [dtype, name] :
       {std::pair{Dtype::f32, "f32"}, std::pair{Dtype::f16, "f16"}, std::pair{Dtype::bf16, "bf16"}}) {
    for (const std::uint64_t dim : {1U, 7U, 100U, 128U, 602U, 768U, 1433U}) {
      CAPTURE(name);
      CAPTURE(dim);
      const std::string tag = std::string(name) + "-" + std::to_string(dim);
      const Source source = write_source(folder / ("source-" + tag), dim, dtype);
      const std::string dataset = folder / (tag + ".gneiss");
      expect_done({"import", "npy", source.folder, dataset, "--feature-dtype", name});
      expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "3,4", "--batch-size", "40",
                   "--cpu-cache", std::to_string(50 * dim)});
      expect_done({"inspect", "--dataset", dataset, "--preparation", "P", "--batch", "1", "--out",
                   folder / ("out-" + tag)});
      const Neighbors neighbors = read_neighbors(source.folder / "edge_index.npy", false);
      CHECK(find_fault(folder / ("out-" + tag), source.rows, source.row_bytes, source.labels, neighbors,
                       {3, 4}) == "");
    }
  }
}

TEST_CASE("every batch of every split and epoch is of the graph, with all neighbors where asked") {
  const TemporaryFolder folder;
  const Source source = write_source(folder / "source", 5, Dtype::f32);
  const std::string dataset = folder / "d.gneiss";
  expect_done({"import", "npy", source.folder, dataset, "--undirected"});
  // A value that begins with '-' is a value; '_' is '-' in an option's name.
  expect_done({"prepare", "--dataset", dataset, "--name", "P", "--fanout", "-1,2", "--batch_size", "40",
               "--sample_epochs", "2", "--cpu_cache", "1KiB"});
  const Neighbors neighbors = read_neighbors(source.folder / "edge_index.npy", true);
  int batch_count = 0;
  for (const std::string split : {"train", "valid", "test"}) {
    for (const int epoch : {0, 1}) {
      if (split != "train" && epoch > 0) continue;
      for (int batch = 0; batch < (split == "train" ? 3 : 1); ++batch) {
        const std::string out = folder / "out";
        expect_done({"inspect", "--dataset", dataset, "--preparation", "P", "--split", split, "--epoch",
                     std::to_string(epoch), "--batch", std::to_string(batch), "--out", out});
        CHECK(find_fault(out, source.rows, source.row_bytes, source.labels, neighbors, {-1, 2}) == "");
        ++batch_count;
      }
    }
  }
  CHECK(batch_count == 8);
  expect_refused(
      {"inspect", "--dataset", dataset, "--preparation", "P", "--batch", "3", "--out", folder / "o"}, 2,
      "batch 3");
}

TEST_CASE("rows that come and go, and rows that batches share, are the source's too") {
  const TemporaryFolder folder;
  const Source source = write_source(folder / "source", 602, Dtype::f16);
  const std::string dataset = folder / "d.gneiss";
  expect_done({"import", "npy", source.folder, dataset});
  const Neighbors neighbors = read_neighbors(source.folder / "edge_index.npy", false);
  const Arguments prepare{"prepare",     "--dataset", dataset,        "--name", "P",           "--fanout",
                          "3,4",         "--force",   "--batch-size", "20",     "--cpu-cache", "40KiB",
                          "--residency", "belady",    "--gpu-cache",  "20KiB"};
  for (const std::string budget : {"1GiB", "2MiB"}) {
    CAPTURE(budget);
    Arguments budgeted = prepare;
    budgeted.insert(budgeted.end(), {"--disk-budget", budget});
    const std::string plan = expect_done(budgeted);
    CHECK((plan.find("shared by") != std::string::npos) == (budget == "2MiB"));
    CHECK(plan.find("belady") != std::string::npos);
    CHECK(plan.find("from gpu tier") != std::string::npos);
    CHECK(plan.find("gpu image 19.99 KiB") != std::string::npos);
    CHECK(expect_done({"info", dataset}).find("17 rows in the gpu tier") != std::string::npos);
    for (const std::string split : {"train", "valid", "test"}) {
      for (const std::string batch : {"0", "1", "4"}) {
        if (split != "train" && batch == "4") continue;
        expect_done({"inspect", "--dataset", dataset, "--preparation", "P", "--split", split, "--epoch",
                     split == "train" ? "2" : "0", "--batch", batch, "--out", folder / "out"});
        CHECK(find_fault(folder / "out", source.rows, source.row_bytes, source.labels, neighbors, {3, 4}) ==
              "");
      }
    }
    expect_done({"verify", "--dataset", dataset});
    // Where rows are shared, sampled epochs differ in what they read: all of them are measured.
    const std::string measured =
        expect_done({"bench", "io", "--dataset", dataset, "--preparation", "P", "--seconds", "0.05"});
    CHECK((measured.find("mean of 4") != std::string::npos) == (budget == "2MiB"));
    const std::string run =
        expect_done({"train", "--dataset", dataset, "--preparation", "P", "--hidden", "4", "--epochs", "5"});
    CHECK(run.find("gpu tier 19.99 KiB in host memory") != std::string::npos);
    CHECK(run.find("% of input rows came from the gpu tier") != std::string::npos);
    expect_refused({"train", "--dataset", dataset, "--preparation", "P", "--hidden", "4", "--shuffle"}, 2,
                   "train without a shuffle");
  }
}

TEST_CASE("the check of a batch finds a wrong row, a wrong label and a missing edge") {
  const TemporaryFolder folder;
  Source source = write_source(folder / "source", 3, Dtype::f32);
  const std::string dataset = folder / "d.gneiss";
  expect_done({"import", "npy", source.folder, dataset});
  expect_done({"prepare", "--dataset", dataset, "--fanout", "-1", "--batch-size", "40"});
  expect_done({"inspect", "--dataset", dataset, "--out", folder / "out"});
  Neighbors neighbors = read_neighbors(source.folder / "edge_index.npy", false);
  const auto fault = [&] {
    return find_fault(folder / "out", source.rows, source.row_bytes, source.labels, neighbors, {-1});
  };
  CHECK(fault() == "");
  const std::uint32_t seed = read_npy(folder / "out" / "seeds.npy").values<std::uint32_t>()[0];
  source.rows[seed * source.row_bytes] ^= 1;
  CHECK(fault() != "");
  source.rows[seed * source.row_bytes] ^= 1;
  source.labels[seed] += 1;
  CHECK(fault() != "");
  source.labels[seed] -= 1;
  neighbors[seed].pop_back();
  CHECK(fault() != "");
}
