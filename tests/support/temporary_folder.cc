#include "tests/support/temporary_folder.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include <stdexcept>
#include <string>
#include <system_error>

namespace gneiss::test {
namespace {

bool is_in_memory(const std::filesystem::path& folder) {
  struct statfs about{};
  return ::statfs(folder.c_str(), &about) == 0 && about.f_type == TMPFS_MAGIC;
}

}  // namespace

TemporaryFolder::TemporaryFolder(Place place) {
  std::filesystem::path base = std::filesystem::temp_directory_path();
  if (place == Place::on_drive && is_in_memory(base)) base = "/var/tmp";
  std::string pattern = (base / "gneiss-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder at " + pattern);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace gneiss::test
