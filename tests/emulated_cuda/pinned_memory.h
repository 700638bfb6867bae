// Which host memory is pinned: what CUDA's asynchronous copies ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace gneiss::emulated_cuda {

class PinnedMemory {
 public:
  enum class Origin : std::uint8_t { allocated, registered };

  // Nullptr when there is no memory. Page-aligned; reads as NaN.
  void* allocate(std::size_t bytes);
  bool free(void* pointer);
  // False when the range touches one that is pinned already.
  bool add(void* pointer, std::size_t bytes);
  bool remove(void* pointer);
  // Whether all of it lies in one pinned range.
  bool holds(const void* pointer, std::size_t bytes) const;
  void free_all();
  std::size_t range_count() const { return ranges_.size(); }

 private:
  struct Range {
    std::size_t bytes;
    Origin origin;
  };
  std::map<std::uintptr_t, Range> ranges_;
};

}  // namespace gneiss::emulated_cuda
