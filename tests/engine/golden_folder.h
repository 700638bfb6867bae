// Where the files that PyTorch wrote lie.
#pragma once

#include <filesystem>
#include <string>

namespace gneiss::test {

// Of a program that was built on another machine: below the project's root, where it is run.
inline std::filesystem::path golden_file(const std::string& name) {
  const auto built = std::filesystem::path(GNEISS_GOLDEN_FOLDER) / name;
  return std::filesystem::exists(built) ? built : std::filesystem::path("tests/engine/golden") / name;
}

}  // namespace gneiss::test
