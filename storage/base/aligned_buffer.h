// Memory that direct reads may land in: page-aligned (from 2 MiB to huge pages), of a fixed size, zeroed
// once, unless its owner writes all of it before it is read.
//
// Ownership: the buffer owns its bytes and is moved, never copied; views of it borrow.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "storage/base/error.h"
#include "storage/base/rounding.h"

namespace gneiss {

inline constexpr std::size_t direct_io_alignment = 4096;
inline constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

// Asks for huge pages in the part of a range that whole ones fit: rows read at random touch a new page
// each, and its translation costs as much as the row; and a drive's request names each page it fills, so that
// 1 MiB of small ones is split where a drive takes 254. A wish: the result is the same without.
inline void advise_huge_pages(void* data, std::size_t bytes) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = round_up(address, huge_page_bytes);
  const std::uintptr_t last = round_down(address + bytes, huge_page_bytes);
  if (first < last) madvise(static_cast<std::byte*>(data) + (first - address), last - first, MADV_HUGEPAGE);
}

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Allocates `bytes` (rounded up to the alignment). Throws Error(io) when memory is refused.
  explicit AlignedBuffer(std::size_t bytes) : AlignedBuffer(bytes, /*is_zeroed=*/true) {}
  // Not zeroed: gigabytes that are written over at once need no first pass.
  static AlignedBuffer uninitialized(std::size_t bytes) { return AlignedBuffer(bytes, /*is_zeroed=*/false); }

  std::byte* data() noexcept { return data_.get(); }
  const std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return bytes_; }
  std::size_t capacity() const noexcept { return round_up(bytes_, direct_io_alignment); }
  bool empty() const noexcept { return bytes_ == 0; }
  std::span<std::byte> bytes() noexcept { return {data_.get(), bytes_}; }
  std::span<const std::byte> bytes() const noexcept { return {data_.get(), bytes_}; }

  // The whole buffer as elements of T; its size must be a multiple of sizeof(T).
  template <class T>
  std::span<T> as() noexcept {
    GNEISS_ASSERT(bytes_ % sizeof(T) == 0);
    return {reinterpret_cast<T*>(data_.get()), bytes_ / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const noexcept {
    GNEISS_ASSERT(bytes_ % sizeof(T) == 0);
    return {reinterpret_cast<const T*>(data_.get()), bytes_ / sizeof(T)};
  }

 private:
  AlignedBuffer(std::size_t bytes, bool is_zeroed) : bytes_(bytes) {
    if (bytes == 0) return;
    const std::size_t capacity = round_up(bytes, direct_io_alignment);
    const std::size_t alignment = capacity < huge_page_bytes ? direct_io_alignment : huge_page_bytes;
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, capacity) != 0)
      fail(Kind::io, "the system refused {} bytes of memory", capacity);
    data_.reset(static_cast<std::byte*>(memory));
    advise_huge_pages(data_.get(), capacity);
    if (is_zeroed) std::memset(data_.get(), 0, capacity);
  }
  struct Free {
    void operator()(std::byte* pointer) const noexcept { std::free(pointer); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t bytes_ = 0;
};

}  // namespace gneiss
