// What the program wrote as JSON.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "storage/io/file.h"

namespace gneiss::test {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_text_file(path));
}

}  // namespace gneiss::test
