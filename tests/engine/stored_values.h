// Values of a tensor in a file.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "engine/train/safetensors.h"

namespace gneiss::test {

// All of them, of a type of this size.
template <class T>
std::vector<T> stored_values(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* tensor = file.find(name);
  REQUIRE_MESSAGE(tensor != nullptr, name);
  REQUIRE(size_of(tensor->dtype) == sizeof(T));
  std::vector<T> values(tensor->bytes / sizeof(T));
  file.read(*tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

}  // namespace gneiss::test
