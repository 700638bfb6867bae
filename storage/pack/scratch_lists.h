// Lists of small values, one a batch, in an anonymous temporary file.
//
// Why:     what planning knows of each access is streamed from disk, and a file without a name leaves nothing
//          behind however the process ends.
// Memory:  8 bytes a list.
// Threads: append() by one; const members by many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "storage/base/error.h"
#include "storage/io/file.h"

namespace gneiss {

template <class T>
class ScratchLists {
 public:
  // Uses `folder`'s file system, or the system's temporary folder where that is read-only.
  explicit ScratchLists(const std::filesystem::path& folder) : file_(File::create_anonymous(folder)) {}

  void append(std::span<const T> values) {  // the next list
    file_.write_at(offsets_.back() * sizeof(T), std::as_bytes(values));
    offsets_.push_back(offsets_.back() + values.size());
  }
  std::size_t list_count() const noexcept { return offsets_.size() - 1; }
  std::uint64_t size(std::size_t list) const noexcept { return offsets_[list + 1] - offsets_[list]; }
  // Values from position `first` on. Precondition: the list has that many.
  void read(std::size_t list, std::uint64_t first, std::span<T> target) const {
    GNEISS_ASSERT(list < list_count() && first + target.size() <= size(list));
    file_.read_at((offsets_[list] + first) * sizeof(T), std::as_writable_bytes(target));
  }

 private:
  File file_;
  std::vector<std::uint64_t> offsets_{0};
};

}  // namespace gneiss
