// --summary FILE: one JSON object with what a command measured, keys with units.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace CLI {
class App;
}

namespace gneiss {

// Adds `--summary FILE` to a subcommand; a folder that does not exist is refused before the work starts.
//   path  left empty when the option is not given; must outlive the parse
void add_summary_option(CLI::App& command, std::string& path);

// Writes `summary` (bytes of names that are no UTF-8 replaced) to `path` whole or not at all; does nothing
// when `path` is empty. Throws Error(io).
void write_summary(const std::filesystem::path& path, const nlohmann::json& summary);

}  // namespace gneiss
