#include "storage/io/folders.h"

#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {

void make_folders(const std::filesystem::path& folder) {
  std::error_code error;
  // "a/" and "a" are one folder.
  const auto path = folder.has_filename() ? folder : folder.parent_path();
  if (std::filesystem::is_directory(path, error)) return;
  if (!path.parent_path().empty() && path.parent_path() != path) make_folders(path.parent_path());
  std::filesystem::create_directory(path, error);
  if (error) fail_errno(path.string(), "create the folder", error.value());
  sync_folder(path.parent_path());
}

}  // namespace gneiss
