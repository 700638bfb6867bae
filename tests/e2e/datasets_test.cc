// On real graphs: the rows are the source's, and the accuracy is what the reference says.
#include "tests/support/datasets.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tests/e2e/inspected_batch.h"
#include "tests/e2e/npy.h"
#include "tests/e2e/program.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

void check_batches(const std::filesystem::path& source, const std::string& dataset, bool undirected,
                   const std::string& fanout, const std::vector<int>& fanouts,
                   const std::string& batch_size) {
  const TemporaryFolder folder;
  expect_done({"prepare", "--dataset", dataset, "--name", "I", "--fanout", fanout, "--batch-size", batch_size,
               "--sample-epochs", "1", "--cpu-cache", "1MiB"});
  const Neighbors neighbors = read_neighbors(source / "edge_index.npy", undirected);
  const Npy features = read_npy(source / "node_feat.npy");
  const auto labels = read_npy(source / "node_label.npy").values<std::int64_t>();
  for (const char* batch : {"0", "1"}) {
    expect_done(
        {"inspect", "--dataset", dataset, "--preparation", "I", "--batch", batch, "--out", folder / "out"});
    CHECK(find_fault(folder / "out", features.bytes, features.bytes.size() / features.shape.at(0), labels,
                     neighbors, fanouts) == "");
  }
}

}  // namespace

TEST_CASE("cora: batches are the graph's, and sampled GraphSAGE is as accurate as the reference") {
  const auto source = find_dataset("cora");
  if (!source) SKIP_TEST(missing_dataset("cora"));
  const TemporaryFolder folder;
  const std::string dataset = folder / "plain.gneiss";
  expect_done({"import", "npy", *source, dataset});
  check_batches(*source, dataset, false, "10,-1", {10, -1}, "64");

  const std::string normalized = folder / "l2.gneiss";
  expect_done({"import", "npy", *source, normalized, "--normalize-features", "l2"});
  expect_done({"prepare", "--dataset", normalized, "--fanout", "-1,-1", "--batch-size", "140"});
  expect_done({"train", "--dataset", normalized, "--hidden", "64", "--dropout", "0.5", "--lr", "0.01",
               "--weight-decay", "5e-4", "--epochs", "100", "--runs", "3", "--summary", folder / "s.json"});
  const auto summary = nlohmann::json::parse(read_text_file(folder / "s.json"));
  CHECK(summary.at("test_accuracy").get<double>() >= 0.798 - 0.02);
}

TEST_CASE("ogbn_arxiv: batches are the graph's") {
  const auto source = find_dataset("ogbn_arxiv");
  if (!source) SKIP_TEST(missing_dataset("ogbn_arxiv"));
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  const std::string dataset = folder / "arxiv.gneiss";
  expect_done({"import", "npy", *source, dataset, "--undirected"});
  // Large batches, which share rows: 23 of them take 1 GB, where 1,421 small ones took 28 GB for four epochs.
  check_batches(*source, dataset, true, "15,10,5", {15, 10, 5}, "4096");
}
