#include "storage/io/file_lock.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "storage/base/cancel.h"
#include "storage/base/error.h"

namespace gneiss {

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::optional<FileLock> FileLock::try_take(const std::filesystem::path& path, Mode mode) {
  constexpr int tries_max = 100;
  for (int tries = 0; tries < tries_max; ++tries) {
    auto lock = try_take_once(path, mode);
    if (!lock || lock->descriptor_ < 0 || lock->is_at(path)) return lock;
  }
  return std::nullopt;  // it is being replaced all the time
}

std::optional<FileLock> FileLock::try_take_once(const std::filesystem::path& path, Mode mode) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  } while (descriptor < 0 && errno == EINTR);
  FileLock lock(descriptor);
  // That nobody could open it would be wrong to conclude where we lack the means.
  if (lock.descriptor_ < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO)) {
    fail_errno(path.string(), "open for locking", errno);
  }
  if (lock.descriptor_ < 0) return FileLock();
  int result = 0;
  do {
    result = ::flock(lock.descriptor_, (mode == Mode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno == EWOULDBLOCK) return std::nullopt;
  return lock;
}

FileLock FileLock::wait_for(const std::filesystem::path& path, Mode mode, const char* what) {
  for (bool said = false;; said = true) {
    if (auto lock = try_take(path, mode)) return std::move(*lock);
    if (!said) spdlog::info("waiting for {} to end", what);
    throw_if_interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

bool FileLock::is_at(const std::filesystem::path& path) const noexcept {
  struct stat own{};
  struct stat named{};
  return descriptor_ >= 0 && ::fstat(descriptor_, &own) == 0 && ::stat(path.c_str(), &named) == 0 &&
         own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

}  // namespace gneiss
