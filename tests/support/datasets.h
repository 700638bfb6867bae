// Real data sets for tests: GNEISS_DATASETS names a folder in which each lies unpacked, as NAME/*.npy.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace gneiss::test {

// The folder of data set `name`, or nothing where it is not unpacked: then SKIP_TEST with missing_dataset().
inline std::optional<std::filesystem::path> find_dataset(const std::string& name) {
  const char* root = std::getenv("GNEISS_DATASETS");
  if (root == nullptr) return std::nullopt;
  std::filesystem::path folder = std::filesystem::path(root) / name;
  if (!std::filesystem::exists(folder / "edge_index.npy")) return std::nullopt;
  return folder;
}

inline std::string missing_dataset(const std::string& name) {
  return "the data set " + name + " is not unpacked in $GNEISS_DATASETS";
}

}  // namespace gneiss::test
