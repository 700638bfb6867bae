// What tests of prepare() share: a request with little work, and one's own program as a child that may die.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <string>

#include "sampler/prepare.h"
#include "tests/support/run_command.h"

namespace gneiss::test {

inline PrepareRequest small_request() {
  return {
      .name = "p",
      .options = {.fanouts = {4, 3}, .batch_size = 16, .sample_epochs = 2, .seed = 3, .cpu_cache_bytes = 400},
      .memory_bytes = std::uint64_t{1} << 30};
}

inline PrepareResult run_prepare(const std::filesystem::path& folder, const PrepareRequest& request,
                                 std::size_t threads = 2) {
  Dataset dataset = Dataset::open(folder, request.dry_run ? Catalog::Access::read : Catalog::Access::write);
  ThreadPool pool(threads);
  return prepare(dataset, request, pool, [](const PreparationCost&) {});
}

// The preparation is, and nothing of an unfinished one.
inline void expect_whole(const std::filesystem::path& folder) {
  const Dataset dataset = Dataset::open(folder);
  Preparation::open(dataset, "p").verify(nullptr);
  CHECK_FALSE(std::filesystem::exists(folder / "prepared/p.partial"));
}

// Every file below `folder` with its bytes.
inline std::map<std::string, std::string> tree_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    tree[entry.path()] = entry.is_regular_file() ? read_text_file(entry.path()) : "";
  }
  return tree;
}

}  // namespace gneiss::test
