// Reads a range of a file once, in order, some pieces ahead of who takes the bytes.
//
// Why:     what is streamed is taken in amounts of its own, rows and offsets, while the drive wants large
//          reads and several of them.
// Memory:  `pieces` of `piece_bytes` each, taken at construction.
// Threads: one.
// Errors:  io, corruption (the file ended first, or `check` threw).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/io/io_engine.h"

namespace gneiss {

struct ReadAhead {
  std::uint64_t piece_bytes = 1U << 20;  // of one read: a multiple of direct_io_alignment
  std::uint32_t pieces = 3;              // in flight or being taken

  std::uint64_t memory_bytes() const noexcept { return piece_bytes * pieces; }
};

// A part of a file. `offset` is a multiple of direct_io_alignment; bytes may end anywhere.
struct FileRange {
  std::filesystem::path path{};
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::string name{};  // what errors call the file; empty: its path
};

class SequentialReader {
 public:
  // Told of every piece, in order, before it is taken: where it begins in the range, and its bytes.
  using Check = std::function<void(std::uint64_t offset, std::span<const std::byte> bytes)>;

  SequentialReader(const FileRange& range, ReadAhead ahead, Check check = {});

  // The next bytes of the range. Precondition: so many are left.
  void read(std::span<std::byte> target) { read_rows(target.data(), target.size(), target.size(), 1); }
  // The next count * row_bytes bytes, as rows that lie `stride` bytes apart in the target.
  void read_rows(std::byte* target, std::size_t row_bytes, std::size_t stride, std::size_t count);

  // Goes on to the end of a piece, whose bytes `check` is told of and nobody takes; returns how many they
  // were.
  std::uint64_t pass();

  std::uint64_t left() const noexcept { return range_.bytes - taken_; }
  std::uint64_t reads() const noexcept { return engine_->counters().reads; }

 private:
  void submit_next();
  void await(std::uint64_t piece);
  void await_current();
  void take(std::uint64_t bytes);
  std::span<std::byte> piece_memory(std::uint64_t piece) noexcept {
    return memory_.bytes().subspan(piece % ahead_.pieces * ahead_.piece_bytes, ahead_.piece_bytes);
  }
  std::uint64_t piece_size(std::uint64_t piece) const noexcept;

  FileRange range_;
  ReadAhead ahead_;
  Check check_;
  AlignedBuffer memory_;
  std::vector<ReadRequest> requests_;  // by slot
  std::vector<char> done_;
  std::uint64_t submitted_ = 0;  // pieces
  std::uint64_t current_ = 0;    // the piece being taken, if current_ready_
  bool current_ready_ = false;
  std::uint64_t taken_ = 0;           // bytes
  std::unique_ptr<IoEngine> engine_;  // last: waits for its reads before their memory goes
  FileId file_{};
};

}  // namespace gneiss
