#include "storage/io/sequential_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "storage/base/error.h"

namespace gneiss {

SequentialWriter::SequentialWriter(WriteBehind& writer, std::uint64_t offset, std::size_t piece_bytes)
    : writer_(&writer), offset_(offset), piece_bytes_(piece_bytes), piece_(piece_bytes) {
  GNEISS_ASSERT(offset % direct_io_alignment == 0);
  GNEISS_ASSERT(piece_bytes > 0 && piece_bytes % direct_io_alignment == 0);
}

void SequentialWriter::append_rows(const std::byte* source, std::size_t row_bytes, std::size_t stride,
                                   std::size_t count) {
  if (stride == row_bytes) row_bytes = stride = std::exchange(count, 1) * row_bytes;  // dense: as one row
  for (std::size_t row = 0; row < count; ++row) {
    const std::byte* from = source + row * stride;
    for (std::size_t left = row_bytes; left > 0;) {
      const std::size_t part = std::min(left, piece_bytes_ - filled_);
      std::memcpy(piece_.data() + filled_, from, part);
      from += part;
      left -= part;
      filled_ += part;
      if (filled_ == piece_bytes_) hand_on(piece_bytes_);
    }
  }
}

void SequentialWriter::finish() {
  if (filled_ == 0) return;
  const std::size_t bytes = round_up(filled_, direct_io_alignment);
  std::memset(piece_.data() + filled_, 0, bytes - filled_);
  hand_on(bytes);
}

void SequentialWriter::hand_on(std::size_t bytes) {
  writer_->write(offset_, piece_, bytes);
  offset_ += bytes;
  filled_ = 0;
}

}  // namespace gneiss
