#include "tests/structure/source_tree.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

namespace gneiss::test {

namespace fs = std::filesystem;

std::string SourceFile::folder() const { return fs::path(path).parent_path().string(); }

std::string SourceFile::name() const { return fs::path(path).filename().string(); }

bool SourceFile::is_code() const {
  static constexpr std::array<std::string_view, 8> endings = {".h",  ".cc", ".cu",    ".cuh",
                                                              ".sh", ".py", ".cmake", ".inl"};
  return std::ranges::any_of(endings, [this](std::string_view ending) { return path.ends_with(ending); });
}

std::size_t SourceFile::line_count() const {
  const auto ends = static_cast<std::size_t>(std::ranges::count(text, '\n'));
  return ends + (text.empty() || text.back() == '\n' ? 0 : 1);
}

std::vector<std::string> SourceFile::includes() const {
  std::vector<std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t hash = line.find_first_not_of(" \t");
    if (hash == std::string::npos || line[hash] != '#') continue;
    const std::size_t word = line.find_first_not_of(" \t", hash + 1);
    if (word == std::string::npos || line.compare(word, 7, "include") != 0) continue;
    const std::size_t open = line.find_first_not_of(" \t", word + 7);
    if (open == std::string::npos || line[open] != '"') continue;
    const std::size_t close = line.find('"', open + 1);
    if (close != std::string::npos) found.push_back(line.substr(open + 1, close - open - 1));
  }
  return found;
}

std::vector<SourceFile> read_source_tree(const fs::path& root) {
  std::vector<SourceFile> files;
  for (const char* top : {"storage", "sampler", "engine", "tools", "tests", "bench"}) {
    if (!fs::exists(root / top)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file()) continue;
      SourceFile file{fs::relative(entry.path(), root).generic_string(), ""};
      if (!file.is_code() && file.name() != "README.md" && file.name() != "CMakeLists.txt") continue;
      std::ifstream stream(entry.path(), std::ios::binary);
      file.text.assign(std::istreambuf_iterator<char>(stream), {});
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

}  // namespace gneiss::test
