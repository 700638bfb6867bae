// The emulated device's memory: a range of addresses that the host cannot touch.
//
// Why:     a host that dereferences a device pointer crashes here, as it would with a device; a kernel that
//          reads what nobody wrote reads NaN; one that writes past an allocation is found.
// Guards:  each allocation has a gap behind it, poisoned under the address sanitizer, else filled with a
//          pattern that is checked when it is freed and when the device is synchronized.
// Memory:  16 GiB of addresses; what is allocated and touched costs memory.
#pragma once

#include <cstddef>
#include <map>

namespace gneiss::emulated_cuda {

class DeviceMemory {
 public:
  DeviceMemory();

  // nullptr when the device is full.
  void* allocate(std::size_t bytes);
  // False when `pointer` is not the beginning of an allocation.
  bool free(void* pointer);
  void free_all();
  // Ends the program when something was written past an allocation.
  void check_guards();

  // Whether the bytes lie in one live allocation.
  bool holds(const void* pointer, std::size_t bytes) const;
  // Whether it is an address of the device, allocated or not.
  bool is_device_address(const void* pointer) const;

  // Operations run between open() and close(); nothing else may touch the memory. Calls may repeat.
  void open();
  void close();

  std::size_t capacity() const { return capacity_; }
  void set_capacity(std::size_t bytes) { capacity_ = bytes; }
  std::size_t used() const { return used_; }
  std::size_t allocation_count() const { return allocations_.size(); }

 private:
  void check_guard(std::size_t begin, std::size_t bytes);
  std::size_t find_place(std::size_t bytes) const;

  std::byte* base_ = nullptr;
  std::size_t capacity_ = std::size_t{256} << 20;
  std::size_t used_ = 0;
  std::size_t end_ = 0;                             // beyond it nothing is allocated, and all is locked
  std::map<std::size_t, std::size_t> allocations_;  // bytes, by the offset at which they begin
  bool is_open_ = false;
};

}  // namespace gneiss::emulated_cuda
