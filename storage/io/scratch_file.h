// Space on disk for work that does not fit in memory: a file without a name, gone when the process ends.
//
// Why:     a run that is killed leaves nothing behind.
// Checks:  what is read back is compared with the checksum of what was written: a drive that lost or changed
//          it must not become a wrong number.
// Threads: append() and read() may run concurrently.
// Errors:  io (the disk is full), corruption (the drive gives back other bytes).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "storage/io/file.h"

namespace gneiss {

// What append() wrote: less than 4 GiB. Of the checksum a half, for there may be one of these for each page.
struct ScratchPiece {
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  std::uint32_t xxh3 = 0;
};

// Throws Error(corruption) about a range of a temporary file.
[[noreturn]] void fail_not_as_written(const std::string& path, std::uint64_t offset, std::uint64_t bytes);

class ScratchFile {
 public:
  // `cached_bytes`: how much may wait in the page cache before it is pushed to the drive.
  ScratchFile(const std::filesystem::path& folder, std::uint64_t cached_bytes);

  // Writes at the end: less than 4 GiB.
  ScratchPiece append(std::span<const std::byte> bytes);
  // Precondition: target is as long as the piece.
  void read(const ScratchPiece& piece, std::span<std::byte> target) const;
  // Gives the space of a piece that will not be read again back to the file system where it can.
  void release(const ScratchPiece& piece) const noexcept;

 private:
  File file_;
  std::uint64_t cached_bytes_;
  std::atomic<std::uint64_t> end_{0};
};

}  // namespace gneiss
