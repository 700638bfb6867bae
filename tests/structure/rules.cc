#include "tests/structure/rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

namespace gneiss::test {
namespace {

// A part is a folder with a rule of its own; the parts of engine/ and of tests/ are free among themselves,
// but for cycles.
struct PartRule {
  std::string_view part;
  std::vector<std::string_view> may_include;  // besides itself
};

const std::vector<PartRule>& part_rules() {
  static const std::vector<PartRule> rules = {
      {"storage/base", {}},
      {"storage/io", {"storage/base"}},
      {"storage/format", {"storage/base", "storage/io"}},
      {"storage/import", {"storage/base", "storage/io", "storage/format"}},
      {"storage/pack", {"storage/base", "storage/io", "storage/format"}},
      {"sampler", {"storage"}},
      {"engine", {"storage"}},
      {"tools", {"storage", "sampler", "engine"}},
      {"bench", {"storage", "sampler", "engine", "tools"}},
      {"tests", {"storage", "sampler", "engine", "tools", "bench"}},
  };
  return rules;
}

// Where engine and sampler meet: includes from one into the other, by file. They meet in storage/format so
// far.
const std::set<std::pair<std::string, std::string>>& documented_meetings() {
  static const std::set<std::pair<std::string, std::string>> meetings = {};
  return meetings;
}

bool is_inside(std::string_view path, std::string_view folder) {
  return path == folder || (path.starts_with(folder) && path.substr(folder.size()).starts_with('/'));
}

const PartRule* rule_for(std::string_view path) {
  const auto found =
      std::ranges::find_if(part_rules(), [path](const PartRule& rule) { return is_inside(path, rule.part); });
  return found == part_rules().end() ? nullptr : &*found;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Whether `word` stands in `text` with nothing of a word before it, and nothing after it unless `open_end`.
bool has_word(std::string_view text, std::string_view word, bool open_end) {
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool starts = at == 0 || !is_word(text[at - 1]);
    const bool ends = open_end || end == text.size() || !is_word(text[end]);
    if (starts && ends) return true;
  }
  return false;
}

bool is_cpp(const SourceFile& file) {
  const std::string extension = std::filesystem::path(file.path).extension().string();
  return extension == ".h" || extension == ".cc" || extension == ".cu";
}

// The type that a line defines at the level of namespaces; empty: none.
std::string defined_type(const std::string& line) {
  static const std::regex definition(
      R"((?:class|struct|union|enum class|enum) (?:alignas\([^)]*\) )?((?:\w|::|<[^{]*>)+)(?: final)?(?: : [^{]*)?(?: \{.*|;.*)?)");
  std::smatch found;
  const bool is_declaration = line.ends_with(';') && line.find('{') == std::string::npos;
  return !is_declaration && std::regex_match(line, found, definition) ? found[1].str() : std::string();
}

// Types in namespaces that others see: "gneiss::File".
std::vector<std::string> visible_types(const std::string& text) {
  std::vector<std::string> types;
  std::vector<std::string> namespaces;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view opening = "namespace ";
    if (line.starts_with(opening) && line.ends_with('{')) {
      const std::string_view name = std::string_view(line).substr(opening.size());
      namespaces.emplace_back(name.substr(0, name.find_first_of(" {")));
    } else if (line.starts_with("}  // namespace") && !namespaces.empty()) {
      namespaces.pop_back();
    } else if (const std::string type = defined_type(line);
               !type.empty() && std::ranges::find(namespaces, "") == namespaces.end()) {
      types.push_back(fmt::format("{}::{}", fmt::join(namespaces, "::"), type));
    }
  }
  return types;
}

using Edges = std::map<std::string, std::set<std::string>>;

// The folders of a way from `at` back to `start`, without its end.
std::optional<std::vector<std::string>> find_way_back(const Edges& edges, const std::string& at,
                                                      const std::string& start, std::set<std::string>& seen) {
  const auto found = edges.find(at);
  if (found == edges.end()) return std::nullopt;
  for (const std::string& next : found->second) {
    if (next == start) return std::vector<std::string>{at};
    if (!seen.insert(next).second) continue;
    if (auto way = find_way_back(edges, next, start, seen)) {
      way->insert(way->begin(), at);
      return way;
    }
  }
  return std::nullopt;
}

}  // namespace

Breaches check_include_directions(const std::vector<SourceFile>& files) {
  Breaches breaches;
  for (const SourceFile& file : files) {
    const PartRule* from = rule_for(file.path);
    if (from == nullptr && file.is_code()) {
      breaches.push_back(fmt::format("{} lies in no part that has a rule for its includes", file.path));
      continue;
    }
    for (const std::string& target : file.includes()) {
      const PartRule* to = rule_for(target);
      if (to == nullptr || to == from) continue;
      const bool allowed = std::ranges::any_of(
          from->may_include, [&](std::string_view part) { return is_inside(target, part); });
      if (allowed || documented_meetings().contains({file.path, target})) continue;
      breaches.push_back(fmt::format(
          "{} includes {}: {} may include {} only", file.path, target, from->part,
          from->may_include.empty() ? "itself" : fmt::format("{}", fmt::join(from->may_include, ", "))));
    }
  }
  return breaches;
}

Breaches check_folder_cycles(const std::vector<SourceFile>& files) {
  Edges edges;
  for (const SourceFile& file : files) {
    for (const std::string& target : file.includes()) {
      const std::string folder = std::filesystem::path(target).parent_path().string();
      if (folder != file.folder() && !folder.empty()) edges[file.folder()].insert(folder);
    }
  }
  Breaches breaches;
  std::set<std::string> told;
  for (const auto& [folder, targets] : edges) {
    if (told.contains(folder)) continue;
    std::set<std::string> seen;
    const auto way = find_way_back(edges, folder, folder, seen);
    if (!way) continue;
    told.insert(way->begin(), way->end());
    breaches.push_back(fmt::format("folders include each other: {} -> {}", fmt::join(*way, " -> "), folder));
  }
  return breaches;
}

Breaches check_includes_exist(const std::vector<SourceFile>& files) {
  std::set<std::string> paths;
  for (const SourceFile& file : files) paths.insert(file.path);
  Breaches breaches;
  for (const SourceFile& file : files) {
    for (const std::string& target : file.includes()) {
      if (!paths.contains(target)) {
        breaches.push_back(fmt::format("{} includes {}, which is no path from the root", file.path, target));
      }
    }
  }
  return breaches;
}

Breaches check_readmes(const std::vector<SourceFile>& files) {
  std::map<std::string, std::string> readmes;
  for (const SourceFile& file : files) {
    if (file.name() == "README.md") readmes[file.folder()] = file.text;
  }
  Breaches breaches;
  std::set<std::string> told;
  for (const SourceFile& file : files) {
    if (!file.is_code()) continue;
    // The name of a test says what it tests; the README above says what its folder is about.
    if (file.path.starts_with("tests/") && file.name().ends_with("_test.cc") &&
        has_word(readmes["tests"], file.folder().substr(std::string_view("tests/").size()) + "/", true)) {
      continue;
    }
    const auto readme = readmes.find(file.folder());
    if (readme == readmes.end()) {
      if (told.insert(file.folder()).second) breaches.push_back(file.folder() + " has no README.md");
      continue;
    }
    const std::string stem = std::filesystem::path(file.path).stem().string();
    if (!has_word(readme->second, stem + ".", true) && told.insert(file.folder() + "/" + stem).second) {
      breaches.push_back(fmt::format("{}/README.md does not name {}", file.folder(), file.name()));
    }
  }
  return breaches;
}

Breaches check_file_sizes(const std::vector<SourceFile>& files) {
  constexpr std::size_t lines_max = 500;
  Breaches breaches;
  for (const SourceFile& file : files) {
    if (file.is_code() && file.line_count() > lines_max) {
      breaches.push_back(fmt::format("{} has {} lines; {} at most", file.path, file.line_count(), lines_max));
    }
  }
  return breaches;
}

Breaches check_unique_types(const std::vector<SourceFile>& files) {
  Breaches breaches;
  std::map<std::string, std::string> definitions;
  for (const SourceFile& file : files) {
    if (!is_cpp(file)) continue;
    for (const std::string& type : visible_types(file.text)) {
      const auto [other, is_first] = definitions.emplace(type, file.path);
      if (!is_first)
        breaches.push_back(fmt::format("{} and {} both define {}", other->second, file.path, type));
    }
  }
  return breaches;
}

Breaches check_unfinished_words(const std::vector<SourceFile>& files) {
  Breaches breaches;
  // In two halves, so that this file keeps its own rule.
  for (const std::string& word :
       {std::string("TO") + "DO", std::string("FIX") + "ME", std::string("XX") + "X"}) {
    for (const SourceFile& file : files) {
      if (has_word(file.text, word, false)) {
        breaches.push_back(fmt::format("{} says {}; open an issue instead", file.path, word));
      }
    }
  }
  return breaches;
}

}  // namespace gneiss::test
