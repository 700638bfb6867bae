#include "tools/summary.h"

#include <nlohmann/json.hpp>

#include "storage/io/file.h"
#include "tools/options.h"

namespace gneiss {

void add_summary_option(CLI::App& command, std::string& path) {
  add_output_file_option(command, "--summary", path,
                         "Write one JSON object with all that was measured to this file");
}

void write_summary(const std::filesystem::path& path, const nlohmann::json& summary) {
  if (path.empty()) return;
  write_text_file(path, summary.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace gneiss
