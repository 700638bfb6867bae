#include "storage/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <utility>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/error.h"
#include "storage/base/units.h"
#include "storage/io/stall_watch.h"

namespace gneiss {
namespace {

int open_retrying(const std::string& path, int flags) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (descriptor >= 0 || errno != EINTR) return descriptor;
  }
}

// Of a call that sets errno.
template <class Call>
int retrying(const Call& call) {
  for (;;) {
    const int result = call();
    if (result == 0 || errno != EINTR) return result;
  }
}

// A file system or a sandbox without it: nothing was written, and nothing went wrong.
bool means_no_write_back_here(int error_number) {
  return error_number == ENOSYS || error_number == EPERM || error_number == EOPNOTSUPP ||
         error_number == EINVAL || error_number == ESPIPE;
}

// The kernel transfers at most 2 GiB - 4 KiB a call.
constexpr std::size_t call_bytes_max = std::size_t{1} << 30;

constexpr const char* making_durable = "making durable";

bool means_no_links_here(int error_number) {
  return error_number == EPERM || error_number == EOPNOTSUPP || error_number == EXDEV ||
         error_number == EMLINK || error_number == ENOSYS;
}

void copy_synced(const std::filesystem::path& source, const std::filesystem::path& target) {
  const File from = File::open_for_reading(source);
  const File to = File::create(target);
  std::vector<std::byte> piece(std::min<std::uint64_t>(from.size(), 1U << 20));
  for (std::uint64_t offset = 0, end = from.size(); offset < end; offset += piece.size()) {
    piece.resize(std::min<std::uint64_t>(piece.size(), end - offset));
    from.read_at(offset, piece);
    to.write_at(offset, piece);
  }
  to.sync();
}

}  // namespace

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)),
      is_direct_(other.is_direct_) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    path_ = std::move(other.path_);
    is_direct_ = other.is_direct_;
  }
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File File::open_for_reading(const std::filesystem::path& path, std::string name) {
  if (name.empty()) name = path.string();
  // A pipe in the place of a file would be waited for, forever.
  const int descriptor = open_retrying(path.string(), O_RDONLY | O_NONBLOCK);
  if (descriptor < 0) {
    if (errno == ENOENT) fail(Kind::input, "{} does not exist; check the path", name);
    fail_errno(name, "open for reading", errno);
  }
  struct stat status{};
  if (::fstat(descriptor, &status) == 0 && !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    if (S_ISDIR(status.st_mode)) fail(Kind::input, "{} is a folder, a file was expected", name);
    fail(Kind::input, "{} is a pipe, a socket or a device; give a regular file, which has a size", name);
  }
  ::fcntl(descriptor, F_SETFL, 0);  // for io_uring it would mean: fail rather than wait
  return {descriptor, std::move(name)};
}

File File::create(const std::filesystem::path& path) {
  constexpr int flags = O_RDWR | O_CREAT | O_EXCL;  // which follows no link
  const std::string name = path.string();
  int descriptor = open_retrying(name, flags);
  // Of another process that makes the same, one wins.
  for (int tries = 0; descriptor < 0 && errno == EEXIST && tries < 3; ++tries) {
    if (::unlink(name.c_str()) != 0 && errno != ENOENT) break;
    descriptor = open_retrying(name, flags);
  }
  if (descriptor < 0) fail_errno(name, "create", errno);
  return {descriptor, name};
}

File File::create_anonymous(const std::filesystem::path& folder) {
  for (const auto& place : {folder, std::filesystem::temp_directory_path()}) {
    const std::string name = place.empty() ? "." : place.string();
    const int descriptor = open_retrying(name, O_RDWR | O_TMPFILE);
    if (descriptor >= 0) return {descriptor, name + "/(temporary file)"};
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) {  // a file system without O_TMPFILE
      std::string pattern = name + "/.gneiss-XXXXXX";
      const int named = ::mkostemp(pattern.data(), O_CLOEXEC);
      if (named >= 0) {
        ::unlink(pattern.c_str());
        return {named, name + "/(temporary file)"};
      }
    }
    if (errno != EROFS && errno != EACCES && errno != EPERM) break;
  }
  fail_errno(folder.string(), "create a temporary file", errno);
}

File File::create_nameable(const std::filesystem::path& folder) {
  const std::string name = folder.empty() ? "." : folder.string();
  const int descriptor = open_retrying(name, O_RDWR | O_TMPFILE);
  if (descriptor >= 0) return {descriptor, name + "/(unfinished file)"};
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) return {};
  fail_errno(name, "create a file", errno);
}

File File::open_existing(const std::filesystem::path& path) {
  const int descriptor = open_retrying(path.string(), O_RDWR | O_NOFOLLOW);
  if (descriptor < 0 && errno == ELOOP) {
    fail(Kind::corruption, "{} is a link, and Gneiss writes through none of its own files; remove it",
         path.string());
  }
  if (descriptor < 0) fail_errno(path.string(), "open for writing", errno);
  return {descriptor, path.string()};
}

File File::reopen_direct(bool writable) const {
  // By its descriptor: it may have no name, or another one by now.
  const int flags = (writable ? O_RDWR : O_RDONLY) | O_DIRECT;
  int descriptor = open_retrying(descriptor_path().string(), flags);
  if (descriptor < 0 && errno == ENOENT) descriptor = open_retrying(path_, flags);  // without /proc
  if (descriptor >= 0) return {descriptor, path_, /*is_direct=*/true};
  // ENOENT: a file without a name, on a system without /proc.
  if (errno == EINVAL || errno == ENOENT) return {};
  fail_errno(path_, "open for direct access", errno);
}

std::uint64_t File::size() const {
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) fail_errno(path_, "read the size", errno);
  return static_cast<std::uint64_t>(status.st_size);
}

void File::read_at(std::uint64_t offset, std::span<std::byte> target) const {
  const DriveWait wait("reading", path_, offset, target.size());
  while (!target.empty()) {
    const ssize_t got = ::pread(descriptor_, target.data(), std::min(target.size(), call_bytes_max),
                                static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      fail(Kind::io, "{}: reading {} bytes at offset {} failed: {}", path_, target.size(), offset,
           std::generic_category().message(errno));
    }
    if (got == 0) {
      fail(Kind::corruption, "{} ends at byte {}, {} more were expected; the file was cut short", path_,
           offset, target.size());
    }
    target = target.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> source) const {
  // A drive refuses anything else; files in memory, where tests have theirs, do not.
  GNEISS_ASSERT(!is_direct_ ||
                (offset % direct_io_alignment == 0 && source.size() % direct_io_alignment == 0 &&
                 reinterpret_cast<std::uintptr_t>(source.data()) % direct_io_alignment == 0));
  const DriveWait wait("writing", path_, offset, source.size());
  while (!source.empty()) {
    const ssize_t put = ::pwrite(descriptor_, source.data(), std::min(source.size(), call_bytes_max),
                                 static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      fail(Kind::io, "{}: writing {} bytes at offset {} failed: {}", path_, source.size(), offset,
           std::generic_category().message(errno));
    }
    source = source.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
}

void File::resize(std::uint64_t bytes) const {
  if (retrying([&] { return ::ftruncate(descriptor_, static_cast<off_t>(bytes)); }) != 0)
    fail_errno(path_, "resize", errno);
}

void File::reserve(std::uint64_t bytes) const {
  if (bytes == 0) return;
  const DriveWait wait("reserving", path_, 0, bytes);
  int error_number = EINTR;  // which is returned, not set; a signal interrupts this one, restarted or not
  while (error_number == EINTR) error_number = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (error_number == ENOSPC) {
    fail(Kind::io, "{}: no space left: {} are needed, {} are free", path_,
         format_bytes(static_cast<double>(bytes)),
         format_bytes(static_cast<double>(free_bytes(std::filesystem::path(path_).parent_path()))));
  }
  if (error_number != 0 && error_number != EOPNOTSUPP && error_number != EINVAL) {
    fail_errno(path_, "reserve space", error_number);
  }
}

void File::sync() const {
  const DriveWait wait(making_durable, path_);
  if (retrying([&] { return ::fsync(descriptor_); }) != 0)
    fail_errno(path_, "write through to the drive", errno);
}

void File::publish_as(const std::filesystem::path& path) const {
  // A link replaces nothing, a rename does.
  const std::filesystem::path temporary = path.string() + ".tmp";
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
  if (::linkat(AT_FDCWD, descriptor_path().c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    fail_errno(path.string(), "give a finished file its name", errno);
  }
  publish_or_remove(temporary, path);
}

void File::start_write_back(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  // Waits for no write, and so does not use up an error either: whoever waits for the range is told.
  const DriveWait wait("writing", path_, offset, bytes);  // where the drive's queue is full
  ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    SYNC_FILE_RANGE_WRITE);
}

void File::write_back(std::uint64_t offset, std::uint64_t bytes) const {
  constexpr unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const DriveWait wait(making_durable, path_, offset, bytes);
  const int result = retrying([&] {
    return ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), flags);
  });
  // The kernel tells a failed write to the first that waits for it, and to nobody after: the sync() that
  // follows would find nothing wrong.
  if (result != 0 && !means_no_write_back_here(errno)) {
    fail(Kind::io, "{}: writing {} bytes at offset {} failed: {}", path_, bytes, offset,
         std::generic_category().message(errno));
  }
  drop_cache(offset, bytes);
}

void File::drop_cache(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

void sync_folder(const std::filesystem::path& folder) {
  const std::string name = folder.empty() ? "." : folder.string();
  const int descriptor = open_retrying(name, O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) fail_errno(name, "open the folder", errno);
  const DriveWait wait(making_durable, name);
  const int result = retrying([&] { return ::fsync(descriptor); });
  const int error_number = errno;
  ::close(descriptor);
  if (result != 0 && error_number != EINVAL)
    fail_errno(name, "write the folder through to the drive", error_number);
}

void publish(const std::filesystem::path& temporary, const std::filesystem::path& target) {
  if (::rename(temporary.c_str(), target.c_str()) != 0)
    fail_errno(target.string(), "rename into place", errno);
  sync_folder(target.parent_path());
}

void publish_or_remove(const std::filesystem::path& temporary, const std::filesystem::path& target) {
  try {
    publish(temporary, target);
  } catch (const Error&) {
    ::unlink(temporary.c_str());  // the first failure is the one to tell
    throw;
  }
}

void publish_link(const std::filesystem::path& source, const std::filesystem::path& target) {
  const std::string temporary = target.string() + ".tmp";
  ::unlink(temporary.c_str());  // of a process that was killed
  if (::link(source.c_str(), temporary.c_str()) != 0) {
    if (!means_no_links_here(errno)) fail_errno(target.string(), "link", errno);
    copy_synced(source, temporary);
  }
  publish_or_remove(temporary, target);
  ::unlink(temporary.c_str());  // a rename does nothing where both are names of one file already
}

std::uint64_t free_bytes(const std::filesystem::path& folder) {
  struct statvfs status{};
  const std::string name = folder.empty() ? "." : folder.string();
  if (::statvfs(name.c_str(), &status) != 0) fail_errno(name, "ask for free space", errno);
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

void write_text_file(const std::filesystem::path& given, std::string_view text) {
  std::error_code ignored;
  // A link stays one: the file that it leads to is replaced.
  const bool is_link = std::filesystem::is_symlink(given, ignored);
  const std::filesystem::path path = is_link ? std::filesystem::weakly_canonical(given, ignored) : given;
  const auto is_below = [](const std::filesystem::path& name, const char* folder) {
    return name.lexically_normal().string().starts_with(folder);
  };
  const bool is_regular =
      !std::filesystem::exists(given, ignored) || std::filesystem::is_regular_file(given, ignored);
  const auto is_of_system =
      [&](const std::filesystem::path& name) {  // but for /dev/shm, which holds files like any other
        return is_below(name, "/proc/") || (is_below(name, "/dev/") && !is_below(name, "/dev/shm/"));
      };
  const bool is_of_the_system = is_of_system(std::filesystem::absolute(given, ignored)) ||
                                (is_link && (path.empty() || is_of_system(path)));
  if (!is_regular || is_of_the_system) {
    // A device, a pipe, or what /dev/stdout leads to: a rename would put a file in its place.
    std::ofstream stream(given, std::ios::app);
    stream << text << std::flush;
    if (!stream)
      fail(Kind::io, "{}: writing {} bytes failed; give another file", given.string(), text.size());
    return;
  }
  replace_file(path, text);
}

void replace_file(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path temporary = path.string() + ".tmp";
  try {
    const File file = File::create(temporary);
    file.write_at(0, std::as_bytes(std::span(text.data(), text.size())));
    file.sync();
  } catch (const Error&) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);  // the first failure is the one to tell
    throw;
  }
  publish_or_remove(temporary, path);
}

std::string read_text_file(const std::filesystem::path& path) {
  const File file = File::open_for_reading(path);
  std::string text(file.size(), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

}  // namespace gneiss
