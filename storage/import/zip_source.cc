#include "storage/import/zip_source.h"

#include <zip.h>

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {
namespace {

zip* open_archive(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) fail(Kind::input, "{} does not exist", path.string());
  int code = 0;
  zip* archive = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (archive == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string reason = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(Kind::input, "{} cannot be opened as a zip archive ({}); it may be truncated, get the file again",
         path.string(), reason);
  }
  return archive;
}

// An archive's own word on an entry is compared with what its bytes can hold, before anything is sized by it.
void check_entry(const zip_stat_t& stat, std::uint64_t archive_bytes, const std::string& name) {
  constexpr zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if ((stat.valid & wanted) != wanted) fail(Kind::input, "{} does not say how large it is", name);
  if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
    fail(Kind::input, "{} is compressed by a method (number {}) that NumPy does not use; save it again", name,
         stat.comp_method);
  }
  // Deflate gives at most 258 bytes for two bits; what claims more is a bomb.
  constexpr std::uint64_t inflation_max = 1032;
  const std::uint64_t inflation = stat.comp_method == ZIP_CM_STORE ? 1 : inflation_max;
  if (stat.comp_size > archive_bytes || stat.size / inflation > stat.comp_size) {
    fail(Kind::input, "{} claims {} bytes out of {} in an archive of {}; it is damaged, or made to do harm",
         name, stat.size, stat.comp_size, archive_bytes);
  }
}

}  // namespace

void ZipSource::Discard::operator()(zip* archive) const noexcept { zip_discard(archive); }
void ZipSource::Close::operator()(zip_file* entry) const noexcept { zip_fclose(entry); }

ZipSource::ZipSource(const std::filesystem::path& archive, const std::string& entry)
    : ByteSource(fmt::format("{} ({})", archive.string(), entry)), archive_(open_archive(archive)) {
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat(archive_.get(), entry.c_str(), 0, &stat) != 0) {
    fail(Kind::input, "{} holds no entry named {}; is it the right archive?", archive.string(), entry);
  }
  check_entry(stat, std::filesystem::file_size(archive), name());
  entry_bytes_ = stat.size;
  entry_.reset(zip_fopen_index(archive_.get(), stat.index, 0));
  if (!entry_) {
    fail(Kind::input, "{} cannot be read ({}); get the file again", name(), zip_strerror(archive_.get()));
  }
}

std::size_t ZipSource::read_some(std::span<std::byte> target) {
  const zip_int64_t taken =
      zip_fread(entry_.get(), target.data(), std::min<std::size_t>(target.size(), 1U << 30));
  if (taken < 0) {
    fail(Kind::input, "{} is truncated or damaged after {} bytes ({}); get the file again", name(),
         position(), zip_file_strerror(entry_.get()));
  }
  return static_cast<std::size_t>(taken);
}

bool zip_has_entry(const std::filesystem::path& archive, const std::string& entry) {
  const std::unique_ptr<zip, void (*)(zip*)> opened(open_archive(archive), [](zip* z) { zip_discard(z); });
  return zip_name_locate(opened.get(), entry.c_str(), 0) >= 0;
}

}  // namespace gneiss
