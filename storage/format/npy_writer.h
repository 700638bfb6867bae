// Writes NumPy's .npy format, version 1.0: what any other tool can check us with.
//
// Source: numpy.lib.format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/base/dtype.h"
#include "storage/io/file.h"
#include "storage/io/sequential_writer.h"

namespace gneiss {

// `shape` in C order; bytes = product(shape) * size_of(dtype). bf16, which NumPy lacks, is written as its
// bits (u16). Replaces the file whole. Throws Error(io).
void write_npy(const std::filesystem::path& path, Dtype dtype, std::span<const std::uint64_t> shape,
               std::span<const std::byte> bytes);

// An array that is too large to be held: rows are appended in order, and finish() gives the file its name.
//
// Files:  without a name until then, and gone when this or the process ends before; PATH.tmp where the file
//         system has no such files. Its space is taken at once, and the page cache bypassed where it can be.
// Errors: io.
class NpyWriter {
 public:
  NpyWriter(std::filesystem::path path, Dtype dtype, std::span<const std::uint64_t> shape);
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  static std::uint64_t memory_bytes() noexcept;
  void append(std::span<const std::byte> bytes);
  void finish();  // precondition: all of the array has been appended

 private:
  void remove_temporary() noexcept;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty: the file has no name
  std::uint64_t file_bytes_;
  std::uint64_t appended_ = 0;
  File file_;
  File direct_;
  std::unique_ptr<WriteBehind> behind_;
  std::unique_ptr<SequentialWriter> writer_;
};

template <class T>
void write_npy_vector(const std::filesystem::path& path, Dtype dtype, std::span<const T> values) {
  const std::uint64_t count = values.size();
  write_npy(path, dtype, std::span(&count, 1), std::as_bytes(values));
}

}  // namespace gneiss
