// The sources as text: what the rules of the tree are checked on, real or made up for a test.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace gneiss::test {

struct SourceFile {
  std::string path;  // from the root, with slashes: "storage/base/error.h"
  std::string text;

  std::string folder() const;  // "storage/base"
  std::string name() const;    // "error.h"
  bool is_code() const;        // something a compiler or an interpreter reads; not CMakeLists.txt
  std::size_t line_count() const;
  // What stands in quotes after #include, in order.
  std::vector<std::string> includes() const;
};

// All files of code and all README.md and CMakeLists.txt below the folders that hold sources, by path.
std::vector<SourceFile> read_source_tree(const std::filesystem::path& root);

}  // namespace gneiss::test
