// A claim on a file or folder, by which processes keep out of each other's way: readers share, a writer is
// alone.
//
// Why:    held by the kernel (flock), it ends with the process, however that ends: no stale lock files.
// Limits: advisory, and of one machine. Where a file system has no locks, nobody is kept out.
#pragma once

#include <filesystem>
#include <optional>
#include <utility>

namespace gneiss {

class FileLock {
 public:
  enum class Mode { shared, exclusive };

  FileLock() = default;
  // Nothing when another holds it in a way that excludes ours. Two of one process exclude each other as well.
  // What cannot be opened cannot be claimed by anyone: an empty lock. Else the lock is on what has the name
  // when it is taken, also where that was replaced meanwhile.
  static std::optional<FileLock> try_take(const std::filesystem::path& path, Mode mode);
  // Waits until it can be taken, saying so once with `what` ("the training that reads it").
  // Throws Error(cancelled).
  static FileLock wait_for(const std::filesystem::path& path, Mode mode, const char* what);

  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileLock();

  // The locked file still has this name: it was not renamed or replaced in the meantime.
  bool is_at(const std::filesystem::path& path) const noexcept;

 private:
  static std::optional<FileLock> try_take_once(const std::filesystem::path& path, Mode mode);
  explicit FileLock(int descriptor) noexcept : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace gneiss
