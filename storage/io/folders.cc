#include "storage/io/folders.h"

#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {

void make_folders(const std::filesystem::path& folder) {
  std::error_code error;
  // "a/" and "a" are one folder.
  const auto path = folder.has_filename() ? folder : folder.parent_path();
  if (std::filesystem::is_directory(path, error)) {
    // Whoever made it may have been killed before its name was durable. What cannot be synced, a folder of
    // someone else's above ours, was there before us.
    try {
      sync_folder(path.parent_path());
    } catch (const Error&) {
    }
    return;
  }
  if (!path.parent_path().empty() && path.parent_path() != path) make_folders(path.parent_path());
  std::filesystem::create_directory(path, error);
  if (error) fail_errno(path.string(), "create the folder", error.value());
  sync_folder(path.parent_path());
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  if (error) fail_errno(folder.string(), "list the folder", error.value());
  return entries;
}

void refuse_link(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_symlink(path, ignored)) return;
  fail(Kind::config,
       "{} is a link, and Gneiss writes through none within what is its own; put what it leads to in its "
       "place",
       path.string());
}

}  // namespace gneiss
