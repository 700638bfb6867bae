// Atomics on integers. Kernels run one thread at a time here, so plain memory accesses are atomic.
//
// Why none for floats: their sum depends on the order of arrival, and Gneiss promises the same numbers for
// the same seed. A kernel that asks for one does not compile.
#pragma once

#include <concepts>
#include <type_traits>

// NOLINTBEGIN: the names are CUDA's.
template <std::integral T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address =
      static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(value));
  return old;
}
template <std::integral T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
template <std::integral T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value < old) *address = value;
  return old;
}
template <std::integral T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old | value;
  return old;
}
template <std::integral T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old & value;
  return old;
}
template <std::integral T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}
template <std::integral T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
template <class T>
  requires std::floating_point<T>
T atomicAdd(T* address, std::type_identity_t<T> value) = delete;
// NOLINTEND
