// A source larger than all the memory there is: imported in a control group, to the same files.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/base/random.h"
#include "storage/io/file.h"
#include "tests/e2e/program.h"
#include "tests/storage/import_fixtures.h"
#include "tests/support/skip.h"
#include "tests/support/temporary_folder.h"

using namespace gneiss;
using namespace gneiss::test;

namespace {

constexpr std::uint64_t node_count = 100'000;

template <class T>
void write_npy_file(const std::filesystem::path& path, const std::vector<std::uint64_t>& shape,
                    const std::vector<T>& values) {
  write_file(path, npy(shape, values));
}

// 5 M edges drawn at random, each pair also as its reverse later on: 80 MB; 100,000 rows of 128: 51 MB.
void write_source(const std::filesystem::path& folder) {
  constexpr std::uint64_t edge_count = 5'000'000;
  std::filesystem::create_directories(folder);
  RandomStream random(5);
  std::vector<std::int64_t> edges(2 * edge_count);
  for (auto& end : edges) end = static_cast<std::int64_t>(random.below(node_count));
  write_npy_file(folder / "edge_index.npy", {2, edge_count}, edges);
  std::vector<float> features(node_count * 128);
  for (auto& value : features) value = static_cast<float>(random.below(1000));
  write_npy_file(folder / "node_feat.npy", {node_count, 128}, features);
  std::vector<std::int64_t> labels(node_count);
  for (auto& label : labels) label = static_cast<std::int64_t>(random.below(7));
  write_npy_file(folder / "node_label.npy", {node_count}, labels);
  write_npy_file<std::int64_t>(folder / "train_idx.npy", {3}, {1, 2, 3});
  write_npy_file<std::int64_t>(folder / "valid_idx.npy", {2}, {4, 5});
  write_npy_file<std::int64_t>(folder / "test_idx.npy", {2}, {6, 7});
}

}  // namespace

TEST_CASE("import in a control group smaller than the edges stays inside it, and changes no byte") {
  const TemporaryFolder folder(TemporaryFolder::Place::on_drive);
  write_source(folder / "source");
  constexpr std::uint64_t limit = 72U << 20;
  REQUIRE(std::filesystem::file_size(folder / "source/edge_index.npy") > limit);
  const auto import = [&](const std::string& name, const std::string& memory) {
    return Arguments{"import",
                     "npy",
                     folder / "source",
                     folder / name,
                     "--undirected",
                     "--memory",
                     memory,
                     "--threads",
                     "2",
                     "--summary",
                     folder / (name + ".json")};
  };
  Arguments small = import("small", "56MiB");
  small.insert(small.begin(), program());
  const auto capped = run_with_memory_cap(limit, small, {folder / "source"});
  if (!capped) SKIP_TEST("no memory control group can be made here");
  REQUIRE_MESSAGE(capped->exit_code == 0, capped->output);
  CHECK(capped->peak_bytes <= limit);
  const auto summary = nlohmann::json::parse(read_text_file(folder / "small.json"));
  CHECK(summary.at("peak_memory_bytes").get<std::uint64_t>() <= (56U << 20));
  CHECK(summary.at("edges").get<std::uint64_t>() > 9'900'000);  // both ways, less what was drawn twice

  expect_done(import("large", "2GiB"));
  for (const char* file : {"graph.csc", "features.bin", "labels.bin"}) {
    CAPTURE(file);
    CHECK((read_text_file(folder / "small" / file) == read_text_file(folder / "large" / file)));
  }
}
