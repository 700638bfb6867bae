// Space on disk for work that does not fit in memory: a file without a name, gone when the process ends.
//
// Why:     a run that is killed leaves nothing behind.
// Threads: append() may run concurrently; the rest as File.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "storage/io/file.h"

namespace gneiss {

class ScratchFile {
 public:
  // `cached_bytes`: how much may wait in the page cache before it is pushed to the drive.
  ScratchFile(const std::filesystem::path& folder, std::uint64_t cached_bytes);

  // Writes at the end and returns the offset. Throws Error(io) when the disk is full.
  std::uint64_t append(std::span<const std::byte> bytes);
  void read_at(std::uint64_t offset, std::span<std::byte> target) const { file_.read_at(offset, target); }
  // Gives the space of a range that will not be read again back to the file system where it can.
  void release(std::uint64_t offset, std::uint64_t bytes) const noexcept;
  std::uint64_t bytes_written() const noexcept { return end_.load(std::memory_order_relaxed); }

 private:
  File file_;
  std::uint64_t cached_bytes_;
  std::atomic<std::uint64_t> end_{0};
};

}  // namespace gneiss
