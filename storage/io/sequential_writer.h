// Writes a range of a file once, in order, in large pieces that a WriteBehind takes.
//
// Why:     what is streamed comes in amounts of its own; the drive wants large writes at aligned places.
// Memory:  one piece.
// Threads: one; several writers may share a WriteBehind.
// Errors:  those of WriteBehind::write().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "storage/base/aligned_buffer.h"
#include "storage/base/checksum.h"
#include "storage/io/write_behind.h"

namespace gneiss {

class SequentialWriter {
 public:
  //   offset, piece_bytes  multiples of direct_io_alignment; pieces no longer than the WriteBehind's
  //   sum                  borrowed: takes all that is appended, when finish() has come; nullptr: not wanted
  SequentialWriter(WriteBehind& writer, std::uint64_t offset, std::size_t piece_bytes,
                   StreamChecksum* sum = nullptr);

  void append(std::span<const std::byte> bytes) { append_rows(bytes.data(), bytes.size(), bytes.size(), 1); }
  // count rows of row_bytes that lie `stride` bytes apart.
  void append_rows(const std::byte* source, std::size_t row_bytes, std::size_t stride, std::size_t count);
  // Hands on what is left, with zeros up to a multiple of direct_io_alignment.
  void finish();

 private:
  void append_row(const std::byte* row, std::size_t bytes);
  void hand_on();

  WriteBehind* writer_;
  std::uint64_t offset_;  // of the piece
  std::size_t piece_bytes_;
  StreamChecksum* sum_;
  std::size_t filled_ = 0;
  AlignedBuffer piece_;
};

}  // namespace gneiss
