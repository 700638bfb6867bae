// Named tensors in the safetensors format: what PyTorch, JAX and others load without running code.
//
// Format:  u64 little-endian length of the header, a JSON header {name: {dtype, shape, data_offsets}},
//          then the data, dense and without gaps. https://huggingface.co/docs/safetensors
// Durable: written to a temporary name, synced, renamed: a reader sees the old file or the new, whole.
// Errors:  what a file says is checked before it is used; a damaged one is Error(corruption), a missing
//          one Error(input).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/dtype.h"

namespace gneiss {

struct NamedTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> bytes;  // borrowed; product(shape) * size_of(dtype)
};

// The format has no checksum of its own: ours is an entry of the metadata, 16 hexadecimal digits over
// all other entries, and names and bytes of the tensors in the order of their data.
inline constexpr const char* checksum_key = "xxh3";
std::string content_checksum(std::span<const NamedTensor> tensors,
                             const std::map<std::string, std::string>& metadata);

// `metadata` lands in the header's __metadata__. Throws Error(io).
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

class SafetensorsFile {
 public:
  // Reads the whole file and checks all of its header.
  static SafetensorsFile open(const std::filesystem::path& path);

  std::span<const NamedTensor> tensors() const& noexcept { return tensors_; }  // in the order of their data
  void tensors() const&& = delete;                                // they live as long as the file
  const NamedTensor* find(std::string_view name) const noexcept;  // nullptr: there is none
  // The tensor, of this type and shape. Throws Error(corruption) that says what was found instead.
  const NamedTensor& require(std::string_view name, Dtype dtype, std::span<const std::uint64_t> shape) const;
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

 private:
  std::string path_;
  AlignedBuffer data_;
  std::vector<NamedTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace gneiss
