#include "tests/emulated_cuda/pinned_memory.h"

#include <cstdlib>
#include <cstring>

namespace gneiss::emulated_cuda {
namespace {

std::uintptr_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

void* PinnedMemory::allocate(std::size_t bytes) {
  void* pointer = nullptr;
  // Not a whole number of pages, so that the address sanitizer sees its end.
  if (::posix_memalign(&pointer, 4096, bytes) != 0) return nullptr;
  std::memset(pointer, 0xff, bytes);
  ranges_.emplace(address_of(pointer), Range{bytes, Origin::allocated});
  return pointer;
}

bool PinnedMemory::free(void* pointer) {
  const auto found = ranges_.find(address_of(pointer));
  if (found == ranges_.end() || found->second.origin != Origin::allocated) return false;
  ranges_.erase(found);
  std::free(pointer);
  return true;
}

bool PinnedMemory::add(void* pointer, std::size_t bytes) {
  const std::uintptr_t begin = address_of(pointer);
  const auto after = ranges_.lower_bound(begin + bytes);
  if (after != ranges_.begin()) {
    const auto& [before, range] = *std::prev(after);
    if (before + range.bytes > begin) return false;
  }
  ranges_.emplace(begin, Range{bytes, Origin::registered});
  return true;
}

bool PinnedMemory::remove(void* pointer) {
  const auto found = ranges_.find(address_of(pointer));
  if (found == ranges_.end() || found->second.origin != Origin::registered) return false;
  ranges_.erase(found);
  return true;
}

bool PinnedMemory::holds(const void* pointer, std::size_t bytes) const {
  const std::uintptr_t begin = address_of(pointer);
  auto after = ranges_.upper_bound(begin);
  if (after == ranges_.begin()) return false;
  --after;
  return begin + bytes <= after->first + after->second.bytes;
}

void PinnedMemory::free_all() {
  for (const auto& [begin, range] : ranges_) {
    if (range.origin == Origin::allocated) std::free(reinterpret_cast<void*>(begin));
  }
  ranges_.clear();
}

}  // namespace gneiss::emulated_cuda
