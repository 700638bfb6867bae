// Named tensors in the safetensors format: what PyTorch, JAX and others load without running code.
//
// Format:  u64 little-endian length of the header, a JSON header {name: {dtype, shape, data_offsets}},
//          then the data, dense and without gaps. https://huggingface.co/docs/safetensors
// Durable: written to a temporary name, synced, renamed: a reader sees the old file or the new, whole.
// Memory:  the header, and a piece of the data at a time, both ways: a model as large as the memory that is
//          left could not be written or read otherwise.
// Errors:  what a file says is checked before it is used; a damaged one is Error(corruption), a missing
//          one Error(input).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "storage/base/dtype.h"
#include "storage/io/file.h"

namespace gneiss {

// Pieces hold whole elements; in them data is written and read.
inline constexpr std::size_t tensor_piece_bytes = std::size_t{1} << 20;

// A piece of a tensor of f32.
inline std::span<float> floats_of(std::span<std::byte> piece) noexcept {
  return {reinterpret_cast<float*>(piece.data()), piece.size() / sizeof(float)};
}
inline std::span<const float> floats_of(std::span<const std::byte> piece) noexcept {
  return {reinterpret_cast<const float*>(piece.data()), piece.size() / sizeof(float)};
}

// A tensor to be written.
struct TensorSource {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  // Copies its bytes from `first_byte` on, product(shape) * size_of(dtype) in all. Asked for each once, in
  // order.
  std::function<void(std::uint64_t first_byte, std::span<std::byte> piece)> copy;
};
// Of bytes in memory, borrowed.
TensorSource tensor_of(std::string name, Dtype dtype, std::vector<std::uint64_t> shape,
                       std::span<const std::byte> bytes);

// A tensor in a file.
struct StoredTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset = 0;  // in the file
  std::uint64_t bytes = 0;   // product(shape) * size_of(dtype)
};

using TensorMetadata = std::map<std::string, std::string>;

// The format has no checksum of its own: ours is an entry of the metadata, 16 hexadecimal digits over
// all other entries, and names and bytes of the tensors in the order of their data.
inline constexpr const char* checksum_key = "xxh3";

// `metadata` lands in the header's __metadata__. Throws Error(io).
void write_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                       const TensorMetadata& metadata = {});
// The same, with the checksum among the metadata.
void write_checked_safetensors(const std::filesystem::path& path, std::span<const TensorSource> tensors,
                               const TensorMetadata& metadata);

class SafetensorsFile {
 public:
  // Reads the header and checks all of it.
  static SafetensorsFile open(const std::filesystem::path& path);

  std::span<const StoredTensor> tensors() const& noexcept { return tensors_; }  // in the order of their data
  void tensors() const&& = delete;                                 // they live as long as the file
  const StoredTensor* find(std::string_view name) const noexcept;  // nullptr: there is none
  // The tensor, of this type and shape. Throws Error(corruption) that says what was found instead.
  const StoredTensor& require(std::string_view name, Dtype dtype, std::span<const std::uint64_t> shape) const;
  const TensorMetadata& metadata() const noexcept { return metadata_; }

  // All bytes of a tensor, tensor.bytes of them.
  void read(const StoredTensor& tensor, std::span<std::byte> target) const;
  // Reads all data once, in order, and gives it on: pieces of whole elements. Returns the checksum of what
  // was read and of the metadata, as checksum_key says.
  using Take =
      std::function<void(const StoredTensor&, std::uint64_t first_byte, std::span<const std::byte> piece)>;
  std::string stream(const Take& take = {}) const;

 private:
  File file_;
  std::vector<StoredTensor> tensors_;
  TensorMetadata metadata_;
};

}  // namespace gneiss
