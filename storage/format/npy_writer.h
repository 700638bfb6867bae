// Writes NumPy's .npy format, version 1.0: what any other tool can check us with.
//
// Source: numpy.lib.format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "storage/base/dtype.h"

namespace gneiss {

// `shape` in C order; bytes = product(shape) * size_of(dtype). bf16, which NumPy lacks, is written as its
// bits (u16). Replaces the file whole. Throws Error(io).
void write_npy(const std::filesystem::path& path, Dtype dtype, std::span<const std::uint64_t> shape,
               std::span<const std::byte> bytes);

template <class T>
void write_npy_vector(const std::filesystem::path& path, Dtype dtype, std::span<const T> values) {
  const std::uint64_t count = values.size();
  write_npy(path, dtype, std::span(&count, 1), std::as_bytes(values));
}

}  // namespace gneiss
