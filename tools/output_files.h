// Files that a command writes where its user says: each another one, and none of what it reads or keeps.
//
// Why: what is named twice by mistake, or ends in a dataset or a run, is noticed when what was there is gone.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace gneiss {

struct NamedPath {
  std::string_view option;     // as the user knows it: "--summary"
  std::filesystem::path path;  // empty: not given
};

// What a command uses besides; empty: nothing. Files of any other dataset or run are refused too.
struct UsedPaths {
  std::filesystem::path dataset{};  // with the runs in it
  std::filesystem::path run{};
  std::filesystem::path source{};   // a folder whose files are read
  NamedPath filled{};               // a folder that the command fills, and nothing else lies in
  std::vector<NamedPath> inputs{};  // files
};

// Links are followed and `.` and `..` taken out before names are compared; a device may be named twice.
// Throws Error(config) that names the options, or the option and whose file it is.
void check_outputs(std::initializer_list<NamedPath> outputs, const UsedPaths& used);

}  // namespace gneiss
