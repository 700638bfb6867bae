#include "tools/summary.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <system_error>

#include "storage/io/file.h"

namespace gneiss {

void add_summary_option(CLI::App& command, std::string& path) {
  command.add_option("--summary", path, "Write one JSON object with all that was measured to this file")
      ->type_name("FILE")
      ->check([](const std::string& text) {
        const std::filesystem::path folder = std::filesystem::path(text).parent_path();
        std::error_code ignored;
        if (std::filesystem::is_directory(text, ignored)) return text + " is a folder; give a file";
        if (folder.empty() || std::filesystem::is_directory(folder, ignored)) return std::string();
        return "the folder " + folder.string() + " does not exist; create it first";
      });
}

void write_summary(const std::filesystem::path& path, const nlohmann::json& summary) {
  if (path.empty()) return;
  write_text_file(path, summary.dump(2) + "\n");
}

}  // namespace gneiss
