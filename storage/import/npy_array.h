// NumPy's .npy format, versions 1 to 3: a header in Python's notation, then the elements.
//
// Why:     the array may be far larger than memory, in a file or inside an .npz; it is read as streams of
//          elements, several at a time, that convert and check as they go.
// Trust:   the header comes from outside: its length, its shape and the size that follows from it are
//          checked against the bytes there are before anything is allocated.
// Threads: const members may run concurrently; a stream belongs to one thread.
// Errors:  input, naming the file and what is wrong with it.
// Format:  numpy.lib.format's documentation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/import/byte_source.h"

namespace gneiss {

enum class NpyType { boolean, i8, i16, i32, i64, u8, u16, u32, u64, f16, f32, f64 };
std::size_t size_of(NpyType type) noexcept;
std::string_view name_of(NpyType type) noexcept;  // "i64"
bool is_floating(NpyType type) noexcept;

struct NpyHeader {
  NpyType type{};
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
  std::uint64_t header_bytes = 0;   // magic to padding: where the elements begin
  std::uint64_t element_count = 1;  // the product of the shape
  std::uint64_t data_bytes() const noexcept { return element_count * size_of(type); }
};

// Reads magic and header; the source then stands at the first element.
NpyHeader read_npy_header(ByteSource& source);
std::string format_shape(std::span<const std::uint64_t> shape);  // "(2, 10556)"

// Elements of an array in the order in which they are stored, converted as they are read.
class NpyStream {
 public:
  NpyStream(std::unique_ptr<ByteSource> source, const NpyHeader& header, std::uint64_t first_element);

  // Integers (and bool); u64 above the largest i64 is Error(input). Precondition: not a floating type.
  void read(std::span<std::int64_t> target);
  void read(std::span<float> target);   // from any type; f64 rounds to nearest
  void read(std::span<double> target);  // from any type
  // After the last element: checks the container's checksum where there is one.
  void finish() { source_->expect_end(); }

 private:
  template <class T>
  void read_converted(std::span<T> target);
  std::unique_ptr<ByteSource> source_;
  NpyType type_;
  std::vector<std::byte> piece_;
};

class NpyArray {
 public:
  static NpyArray open_file(const std::filesystem::path& path);
  static NpyArray open_zip_entry(const std::filesystem::path& archive, const std::string& entry);

  const NpyHeader& header() const noexcept { return header_; }
  const std::string& name() const noexcept { return name_; }
  std::span<const std::uint64_t> shape() const noexcept { return header_.shape; }
  bool can_seek() const noexcept { return can_seek_; }  // cheap to start a stream anywhere
  // A new stream from `first_element` in stored order.
  NpyStream stream(std::uint64_t first_element = 0) const;

 private:
  NpyArray(OpenSource open, std::uint64_t bytes, bool can_seek);
  OpenSource open_;
  std::string name_;
  NpyHeader header_;
  bool can_seek_;
};

}  // namespace gneiss
