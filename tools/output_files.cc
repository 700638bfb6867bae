#include "tools/output_files.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>

#include "storage/base/error.h"
#include "storage/format/dataset.h"
#include "tools/run_folder.h"

namespace gneiss {
namespace {

namespace fs = std::filesystem;

fs::path real_path(const fs::path& path) { return fs::weakly_canonical(fs::absolute(path)); }

// A device, or what /dev/stdout leads to: nothing is lost when it is written twice.
bool is_of_system(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_regular_file(path, ignored);
}

// What `path` is called within `folder`; nothing: it lies elsewhere.
std::optional<fs::path> within(const fs::path& path, const fs::path& folder) {
  if (folder.empty()) return std::nullopt;
  fs::path below = path.lexically_relative(real_path(folder));
  if (below.empty() || *below.begin() == ".." || *below.begin() == ".") return std::nullopt;
  return below;
}

bool is_dataset_file(const fs::path& below) {
  constexpr std::array<std::string_view, 5> names{"catalog", "prepared", graph_file_name, features_file_name,
                                                  labels_file_name};
  const std::string first = *below.begin();
  if (std::ranges::find(names, first) != names.end()) return true;
  const std::vector<fs::path> parts(below.begin(), below.end());  // runs/NAME/...
  if (first != runs_folder_name || parts.size() < 3) return false;
  return is_run_file(below.lexically_relative(parts[0] / parts[1]));
}

// Of a dataset or a run, whichever that is.
bool is_of_any(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = path.parent_path();
  if (fs::exists(folder / "catalog" / "CURRENT", ignored) && is_dataset_file(path.filename())) return true;
  // A user's own config.yaml makes no run of the folder it lies in.
  return fs::exists(folder / "config.yaml", ignored) && fs::exists(folder / "metrics.jsonl", ignored) &&
         is_run_file(path.filename());
}

}  // namespace

void check_outputs(std::initializer_list<NamedPath> outputs, const UsedPaths& used) {
  std::vector<NamedPath> others;  // by their real paths
  for (const NamedPath& input : used.inputs) {
    if (!input.path.empty()) others.push_back({input.option, real_path(input.path)});
  }
  for (const NamedPath& output : outputs) {
    if (output.path.empty() || is_of_system(output.path)) continue;
    const fs::path path = real_path(output.path);
    const auto same = std::ranges::find(others, path, &NamedPath::path);
    if (same != others.end()) {
      fail(Kind::config, "{} and {} are both {}; give each a file of its own", same->option, output.option,
           output.path.string());
    }
    const auto of_dataset = within(path, used.dataset);
    const auto of_run = within(path, used.run);
    const bool is_of_dataset = of_dataset && is_dataset_file(*of_dataset);
    if (is_of_dataset || (of_run && is_run_file(*of_run))) {
      fail(Kind::config, "{} {} is a file that the {} is made of; give another name", output.option,
           output.path.string(), is_of_dataset ? "dataset" : "run");
    }
    std::error_code ignored;
    if (within(path, used.source) && fs::exists(path, ignored)) {
      fail(Kind::config, "{} {} is one of the source's files; give another name", output.option,
           output.path.string());
    }
    if (within(path, used.filled.path)) {
      fail(Kind::config, "{} {} lies in {}, which holds nothing else; give another place", output.option,
           output.path.string(), used.filled.option);
    }
    if (is_of_any(path)) {
      fail(Kind::config, "{} {} is a file that another dataset or run is made of; give another name",
           output.option, output.path.string());
    }
    others.push_back({output.option, path});
  }
}

}  // namespace gneiss
