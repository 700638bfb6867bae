// The files without a name that this process has open in a folder, to damage them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace gneiss::test {

// Paths that open them. Where the file system has no such files, they had a name once: here too.
inline std::vector<std::filesystem::path> nameless_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  const std::string below = std::filesystem::canonical(folder).string() + "/";
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;  // the descriptor of this walk is gone when it is asked
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored);
    if (target.starts_with(below) && target.ends_with(" (deleted)")) found.push_back(entry.path());
  }
  return found;
}

inline void flip_bit(const std::filesystem::path& path, std::uint64_t offset, unsigned bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ (1 << bit)));
}

}  // namespace gneiss::test
