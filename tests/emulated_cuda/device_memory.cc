#include "tests/emulated_cuda/device_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tests/emulated_cuda/die.h"

#if defined(__SANITIZE_ADDRESS__)
#define GNEISS_ASAN_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GNEISS_ASAN_MEMORY 1
#endif
#endif
#ifdef GNEISS_ASAN_MEMORY
#include <sanitizer/asan_interface.h>
#endif

namespace gneiss::emulated_cuda {
namespace {

constexpr std::size_t address_bytes = std::size_t{16} << 30;
// Protection is changed at each call that runs something: 4 us for 16 MiB in pages of 2 MiB, 1,200 us in
// those of 4 KiB. Where the system has no large pages, it works as well and takes longer.
constexpr std::size_t page_bytes = 2 << 20;
constexpr std::size_t alignment = 256;
constexpr std::size_t gap_bytes = 256;
constexpr int nan_pattern = 0xff;

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }
// What an allocation takes of the addresses: itself and its gap.
std::size_t span_of(std::size_t bytes) { return round_up(bytes, alignment) + gap_bytes; }
std::size_t end_of(const std::pair<const std::size_t, std::size_t>& allocation) {
  return allocation.first + span_of(allocation.second);
}

// Who reads it as a float of any kind reads NaN, but not the NaN of fresh memory, nor one that arithmetic
// makes.
[[maybe_unused]] std::byte guard_byte(const std::byte* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 2 == 0 ? std::byte{0xfd} : std::byte{0xff};
}

// The bytes behind an allocation.
void set_guard([[maybe_unused]] std::byte* begin, [[maybe_unused]] std::size_t bytes) {
#ifdef GNEISS_ASAN_MEMORY
  __asan_poison_memory_region(begin, bytes);
#else
  for (std::size_t i = 0; i < bytes; ++i) begin[i] = guard_byte(begin + i);
#endif
}

void unpoison([[maybe_unused]] std::byte* begin, [[maybe_unused]] std::size_t bytes) {
#ifdef GNEISS_ASAN_MEMORY
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

}  // namespace

DeviceMemory::DeviceMemory() {
  void* const map = ::mmap(nullptr, address_bytes + page_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) die("no addresses for the device's memory");
  base_ = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(map), page_bytes));
  ::madvise(base_, address_bytes, MADV_HUGEPAGE);
}

// The first gap that is large enough: freed memory is used again at once, so what reads it late reads NaN.
std::size_t DeviceMemory::find_place(std::size_t bytes) const {
  std::size_t place = 0;
  for (const auto& [begin, length] : allocations_) {
    if (begin - place >= span_of(bytes)) break;
    place = begin + span_of(length);
  }
  return place;
}

void* DeviceMemory::allocate(std::size_t bytes) {
  // A device gives memory in pieces of 512 bytes; tests count on what they asked for.
  if (bytes > capacity_ - std::min(used_, capacity_)) return nullptr;
  const std::size_t place = find_place(bytes);
  const std::size_t end = round_up(place + span_of(bytes), page_bytes);
  if (end > address_bytes) return nullptr;
  const bool was_open = is_open_;
  close();
  end_ = std::max(end_, end);
  open();
  unpoison(base_ + place, bytes);
  std::memset(base_ + place, nan_pattern, bytes);
  set_guard(base_ + place + bytes, span_of(bytes) - bytes);
  if (!was_open) close();
  allocations_.emplace(place, bytes);
  used_ += bytes;
  return base_ + place;
}

bool DeviceMemory::free(void* pointer) {
  if (!is_device_address(pointer)) return false;
  const auto found = allocations_.find(static_cast<std::size_t>(static_cast<std::byte*>(pointer) - base_));
  if (found == allocations_.end()) return false;
  const auto [begin, bytes] = *found;
  const bool was_open = is_open_;
  open();
  check_guard(begin, bytes);
  unpoison(base_ + begin, bytes);
  std::memset(base_ + begin, nan_pattern, bytes);
#ifdef GNEISS_ASAN_MEMORY
  __asan_poison_memory_region(base_ + begin, bytes);
#endif
  used_ -= bytes;
  allocations_.erase(found);
  // What lies behind the last allocation stays locked: opening and closing take longer the more there is.
  close();
  end_ = allocations_.empty() ? 0 : round_up(end_of(*allocations_.rbegin()), page_bytes);
  if (was_open) open();
  return true;
}

void DeviceMemory::free_all() {
  open();
  unpoison(base_, end_);
  ::madvise(base_, end_, MADV_DONTNEED);
  close();
  allocations_.clear();
  used_ = 0;
  end_ = 0;
}

void DeviceMemory::check_guard([[maybe_unused]] std::size_t begin, [[maybe_unused]] std::size_t bytes) {
#ifndef GNEISS_ASAN_MEMORY
  const std::byte* const guard = base_ + begin + bytes;
  for (std::size_t i = 0; i < span_of(bytes) - bytes; ++i) {
    if (guard[i] != guard_byte(guard + i)) {
      die(fmt::format("something wrote {} bytes past an allocation of {} bytes", i + 1, bytes));
    }
  }
#endif
}

void DeviceMemory::check_guards() {
  const bool was_open = is_open_;
  open();
  for (const auto& [begin, bytes] : allocations_) check_guard(begin, bytes);
  if (!was_open) close();
}

bool DeviceMemory::is_device_address(const void* pointer) const {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto base = reinterpret_cast<std::uintptr_t>(base_);
  return address >= base && address - base < address_bytes;
}

bool DeviceMemory::holds(const void* pointer, std::size_t bytes) const {
  if (!is_device_address(pointer)) return false;
  const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(pointer) - base_);
  auto after = allocations_.upper_bound(offset);
  if (after == allocations_.begin()) return false;
  --after;
  return offset + bytes <= after->first + after->second;
}

void DeviceMemory::open() {
  if (is_open_) return;
  if (end_ > 0 && ::mprotect(base_, end_, PROT_READ | PROT_WRITE) != 0)
    die("cannot open the device's memory");
  is_open_ = true;
}

void DeviceMemory::close() {
  if (!is_open_) return;
  if (end_ > 0 && ::mprotect(base_, end_, PROT_NONE) != 0) die("cannot close the device's memory");
  is_open_ = false;
}

}  // namespace gneiss::emulated_cuda
