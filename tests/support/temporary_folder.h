// A folder that lives as long as a test; under $TMPDIR, else the system's temporary folder.
#pragma once

#include <filesystem>

namespace gneiss::test {

class TemporaryFolder {
 public:
  // on_drive: /var/tmp where the temporary folder is in memory, which a memory cap would count.
  enum class Place { anywhere, on_drive };

  explicit TemporaryFolder(Place place = Place::anywhere);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }
  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace gneiss::test
