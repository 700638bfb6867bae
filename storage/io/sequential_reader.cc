#include "storage/io/sequential_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "storage/base/error.h"

namespace gneiss {

SequentialReader::SequentialReader(const FileRange& range, ReadAhead ahead, Check check)
    : range_(range),
      ahead_(ahead),
      check_(std::move(check)),
      memory_(AlignedBuffer::uninitialized(ahead.memory_bytes())),
      requests_(ahead.pieces),
      done_(ahead.pieces),
      engine_(make_io_engine("auto", {.queue_depth = ahead.pieces})),
      file_(engine_->open(range.path, range.name)) {
  GNEISS_ASSERT(ahead.pieces > 1 && ahead.piece_bytes > 0);
  GNEISS_ASSERT(ahead.piece_bytes % direct_io_alignment == 0 && range.offset % direct_io_alignment == 0);
  while (submitted_ < ahead_.pieces) {
    if (piece_size(submitted_) == 0) break;
    submit_next();
  }
}

std::uint64_t SequentialReader::piece_size(std::uint64_t piece) const noexcept {
  const std::uint64_t first = std::min(piece * ahead_.piece_bytes, range_.bytes);
  return std::min(ahead_.piece_bytes, range_.bytes - first);
}

void SequentialReader::submit_next() {
  const std::uint64_t piece = submitted_++;
  const std::uint64_t slot = piece % ahead_.pieces;
  const std::uint64_t bytes = round_up(piece_size(piece), direct_io_alignment);
  requests_[slot] = {.file = file_,
                     .offset = range_.offset + piece * ahead_.piece_bytes,
                     .target = piece_memory(piece).first(bytes),
                     .tag = piece};
  done_[slot] = 0;
  engine_->submit(requests_[slot]);
}

void SequentialReader::await(std::uint64_t piece) {
  std::array<ReadCompletion, 16> completions;
  while (done_[piece % ahead_.pieces] == 0) {
    const std::size_t count = engine_->reap(completions, 1);
    for (const ReadCompletion& completion : std::span(completions).first(count)) {
      const std::uint64_t slot = completion.tag % ahead_.pieces;
      if (completion.error != 0) fail_read(*engine_, requests_[slot], completion.error);
      done_[slot] = 1;
    }
  }
  // The last block of a direct read may reach past the file's end, and only past the range's.
  if (range_.offset + piece * ahead_.piece_bytes + piece_size(piece) > engine_->file_bytes(file_)) {
    fail(Kind::corruption, "{} ends at byte {}; the file was cut short", engine_->path(file_),
         engine_->file_bytes(file_));
  }
  if (check_) check_(piece * ahead_.piece_bytes, piece_memory(piece).first(piece_size(piece)));
}

void SequentialReader::await_current() {
  if (current_ready_) return;
  await(current_);
  current_ready_ = true;
}

// Of the current piece; one that was taken to its end makes room for the next to be read.
void SequentialReader::take(std::uint64_t bytes) {
  taken_ += bytes;
  if (taken_ < current_ * ahead_.piece_bytes + piece_size(current_)) return;
  ++current_;
  current_ready_ = false;
  if (piece_size(submitted_) > 0) submit_next();
}

std::uint64_t SequentialReader::pass() {
  if (left() == 0) return 0;
  await_current();
  const std::uint64_t bytes = current_ * ahead_.piece_bytes + piece_size(current_) - taken_;
  take(bytes);
  return bytes;
}

void SequentialReader::read_rows(std::byte* target, std::size_t row_bytes, std::size_t stride,
                                 std::size_t count) {
  GNEISS_ASSERT(std::uint64_t{row_bytes} * count <= left());
  if (stride == row_bytes) row_bytes = stride = std::exchange(count, 1) * row_bytes;  // dense: as one row
  std::size_t row = 0;
  std::size_t in_row = 0;  // bytes of the current row that are done
  while (row < count && row_bytes > 0) {
    await_current();
    const std::uint64_t at = taken_ - current_ * ahead_.piece_bytes;
    const auto bytes = piece_memory(current_).subspan(at, piece_size(current_) - at);
    std::size_t used = 0;
    while (row < count && used < bytes.size()) {
      const std::size_t part = std::min(row_bytes - in_row, bytes.size() - used);
      std::memcpy(target + row * stride + in_row, bytes.data() + used, part);
      used += part;
      in_row += part;
      if (in_row == row_bytes) {
        ++row;
        in_row = 0;
      }
    }
    take(used);
  }
}

}  // namespace gneiss
