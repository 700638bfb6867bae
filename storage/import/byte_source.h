// Bytes that arrive in order, wherever they come from: a file, a gzip stream, an entry of a zip archive.
//
// Why:     .npy arrays and CSV tables are parsed once; what holds them does not matter to the parser.
// Threads: a source belongs to one thread; several sources on the same file are independent.
// Memory:  a source holds a fixed buffer at most, never what it reads.
// Errors:  input (missing, truncated or damaged), io (the device); messages begin with name().
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "storage/io/file.h"

namespace gneiss {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  const std::string& name() const noexcept { return name_; }
  std::uint64_t position() const noexcept { return position_; }  // bytes handed out so far

  // Fills as much of `target` as it can at once; 0 only at the end (or for an empty target).
  std::size_t read(std::span<std::byte> target);
  // Fills all of `target`. Throws Error(input) when the source ends first.
  void read_exactly(std::span<std::byte> target);
  // Passes over `bytes`; a file seeks, a stream that carries checksums reads them.
  virtual void skip(std::uint64_t bytes);
  // Throws Error(input) when bytes follow; a stream that carries checksums checks them here.
  void expect_end();

 protected:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}
  virtual std::size_t read_some(std::span<std::byte> target) = 0;
  std::uint64_t position_ = 0;

 private:
  std::string name_;
};

// Opens the same bytes again from their beginning: arrays are read by several streams, or twice.
using OpenSource = std::function<std::unique_ptr<ByteSource>()>;

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path);
  void skip(std::uint64_t bytes) override;  // past the end: Error(input) at the next read

 private:
  std::size_t read_some(std::span<std::byte> target) override;
  File file_;
  std::uint64_t bytes_;
};

}  // namespace gneiss
