// Lists of small values, one a batch, in a temporary file, anonymous unless it shall outlive a kill.
//
// Why:     what planning knows of each access is streamed from disk, and a file without a name leaves nothing
//          behind however the process ends.
// Checks:  what is read is compared with the checksums of what was written, block by block.
// Memory:  16 bytes a list, and 8 bytes for each begun block of it.
// Threads: append() by one; const members by many.
// Errors:  io, corruption (the drive gives back other bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "storage/io/file.h"

namespace gneiss {

// Reads that begin and end at multiples of this read nothing twice.
inline constexpr std::size_t list_block_bytes = 32U << 10;

// The same of bytes.
class ScratchBytes {
 public:
  explicit ScratchBytes(File file) : file_(std::move(file)) {}

  void append(std::span<const std::byte> bytes);  // the next list
  // What the file holds behind the last list,
  std::uint64_t bytes_behind() const;
  // and the next list there: reads what is to be one. Throws Error(corruption) when the file ends before.
  void take_up(std::span<std::byte> target);
  void drop_last();  // precondition: there is one
  void sync() const { file_.sync(); }
  const std::string& path() const noexcept { return file_.path(); }
  std::size_t list_count() const noexcept { return offsets_.size() - 1; }
  std::uint64_t size(std::size_t list) const noexcept { return offsets_[list + 1] - offsets_[list]; }
  std::uint64_t total_bytes() const noexcept { return offsets_.back(); }
  // Bytes from position `first` on. Precondition: the list has that many.
  void read(std::size_t list, std::uint64_t first, std::span<std::byte> target) const;

 private:
  void add_list(std::span<const std::byte> bytes);
  void check_blocks(std::size_t list, std::uint64_t first, std::span<const std::byte> bytes) const;

  File file_;
  std::vector<std::uint64_t> offsets_{0};
  std::vector<std::uint64_t> first_blocks_{0};  // of each list among `checksums_`
  std::vector<std::uint64_t> checksums_;
};

template <class T>
class ScratchLists {
 public:
  // Uses `folder`'s file system, or the system's temporary folder where that is read-only.
  explicit ScratchLists(const std::filesystem::path& folder) : bytes_(File::create_anonymous(folder)) {}
  explicit ScratchLists(File file) : bytes_(std::move(file)) {}

  void append(std::span<const T> values) { bytes_.append(std::as_bytes(values)); }  // the next list
  std::uint64_t values_behind() const { return bytes_.bytes_behind() / sizeof(T); }
  void take_up(std::span<T> target) { bytes_.take_up(std::as_writable_bytes(target)); }
  void drop_last() { bytes_.drop_last(); }
  void sync() const { bytes_.sync(); }
  const std::string& path() const noexcept { return bytes_.path(); }
  std::size_t list_count() const noexcept { return bytes_.list_count(); }
  std::uint64_t size(std::size_t list) const noexcept { return bytes_.size(list) / sizeof(T); }
  std::uint64_t total_count() const noexcept { return bytes_.total_bytes() / sizeof(T); }
  // Values from position `first` on. Precondition: the list has that many.
  void read(std::size_t list, std::uint64_t first, std::span<T> target) const {
    bytes_.read(list, first * sizeof(T), std::as_writable_bytes(target));
  }

 private:
  ScratchBytes bytes_;
};

}  // namespace gneiss
