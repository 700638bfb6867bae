#include "storage/io/sequential_writer.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "storage/base/error.h"

namespace gneiss {
namespace {

void copy_rows(const std::byte* source, std::size_t row_bytes, std::size_t stride, std::size_t count,
               std::byte* target) {
  const auto copy = [&](auto bytes) {
    for (std::size_t row = 0; row < count; ++row) {
      std::memcpy(target + row * bytes, source + row * stride, bytes);
    }
  };
  // As wide as one number: a copy whose size is known beforehand takes a fraction of the time.
  if (row_bytes == sizeof(float)) return copy(std::integral_constant<std::size_t, sizeof(float)>());
  copy(row_bytes);
}

}  // namespace

SequentialWriter::SequentialWriter(WriteBehind& writer, std::uint64_t offset, std::size_t piece_bytes,
                                   StreamChecksum* sum)
    : writer_(&writer), offset_(offset), piece_bytes_(piece_bytes), sum_(sum), piece_(piece_bytes) {
  GNEISS_ASSERT(offset % direct_io_alignment == 0);
  GNEISS_ASSERT(piece_bytes > 0 && piece_bytes % direct_io_alignment == 0);
}

void SequentialWriter::append_rows(const std::byte* source, std::size_t row_bytes, std::size_t stride,
                                   std::size_t count) {
  if (stride == row_bytes) row_bytes = stride = std::exchange(count, 1) * row_bytes;  // dense: as one row
  if (row_bytes == 0) return;
  for (std::size_t row = 0; row < count;) {
    const std::size_t whole = std::min(count - row, (piece_bytes_ - filled_) / row_bytes);
    copy_rows(source + row * stride, row_bytes, stride, whole, piece_.data() + filled_);
    filled_ += whole * row_bytes;
    row += whole;
    if (filled_ == piece_bytes_) hand_on();
    // One that ends in a later piece.
    if (row < count && piece_bytes_ - filled_ < row_bytes) append_row(source + row++ * stride, row_bytes);
  }
}

void SequentialWriter::append_row(const std::byte* row, std::size_t bytes) {
  while (bytes > 0) {
    const std::size_t part = std::min(bytes, piece_bytes_ - filled_);
    std::memcpy(piece_.data() + filled_, row, part);
    row += part;
    bytes -= part;
    filled_ += part;
    if (filled_ == piece_bytes_) hand_on();
  }
}

void SequentialWriter::finish() {
  if (filled_ > 0) hand_on();
}

void SequentialWriter::hand_on() {
  if (sum_ != nullptr) sum_->update(std::span<const std::byte>(piece_.bytes()).first(filled_));
  const std::size_t bytes = round_up(filled_, direct_io_alignment);
  std::memset(piece_.data() + filled_, 0, bytes - filled_);
  writer_->write(offset_, piece_, bytes);
  offset_ += bytes;
  filled_ = 0;
}

}  // namespace gneiss
