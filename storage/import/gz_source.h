// A gzip file as a stream of its uncompressed bytes; several members, one after the other, read as one.
//
// Errors: input, when the file is missing, cut off, or does not match its own checksums.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "storage/import/byte_source.h"

struct z_stream_s;

namespace gneiss {

class GzSource final : public ByteSource {
 public:
  explicit GzSource(const std::filesystem::path& path);

 private:
  std::size_t read_some(std::span<std::byte> target) override;
  bool refill();

  struct EndInflate {
    void operator()(z_stream_s* stream) const noexcept;
  };
  FileSource file_;
  std::vector<std::byte> input_;
  std::unique_ptr<z_stream_s, EndInflate> stream_;
  bool inside_member_ = true;
};

// NAME.gz, or NAME itself where it was unpacked already. Throws Error(input) when neither exists.
std::unique_ptr<ByteSource> open_maybe_gz(const std::filesystem::path& path_without_gz);
bool exists_maybe_gz(const std::filesystem::path& path_without_gz);

}  // namespace gneiss
