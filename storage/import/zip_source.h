// An entry of a zip archive (an .npz) as a stream: stored or deflated, zip64, never unpacked as a whole.
//
// Why:     papers100M's data.npz holds 57 GB of features; nobody has the memory or the disk to unpack it.
// Threads: each source opens the archive for itself, so several may read the same entry side by side.
// Errors:  input, when the archive or the entry is missing, cut off, or does not match its checksum, which
//          is checked when the last byte has been read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "storage/import/byte_source.h"

struct zip;
struct zip_file;

namespace gneiss {

class ZipSource final : public ByteSource {
 public:
  ZipSource(const std::filesystem::path& archive, const std::string& entry);

  std::uint64_t entry_bytes() const noexcept { return entry_bytes_; }  // uncompressed, as the archive says

 private:
  std::size_t read_some(std::span<std::byte> target) override;

  struct Discard {
    void operator()(zip* archive) const noexcept;
  };
  struct Close {
    void operator()(zip_file* entry) const noexcept;
  };
  std::unique_ptr<zip, Discard> archive_;
  std::unique_ptr<zip_file, Close> entry_;
  std::uint64_t entry_bytes_ = 0;
};

bool zip_has_entry(const std::filesystem::path& archive, const std::string& entry);

}  // namespace gneiss
