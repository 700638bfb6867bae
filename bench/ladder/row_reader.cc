#include "bench/ladder/row_reader.h"

#include <algorithm>
#include <cstring>

#include "storage/base/error.h"
#include "storage/base/stopwatch.h"

namespace gneiss::ladder {

ExtentCursor::ExtentCursor(const RowFile& file, std::uint32_t alignment, const CoalesceOptions& options,
                           std::span<const RowRead> ascending)
    : file_(file), alignment_(alignment), options_(options), rows_(ascending) {}

std::uint64_t ExtentCursor::begin_of(std::size_t index) const {
  return round_down(file_.offset + to_index(rows_[index].node) * file_.row_bytes, alignment_);
}

std::uint64_t ExtentCursor::end_of(std::size_t index) const {
  return round_up(file_.offset + (std::uint64_t{to_index(rows_[index].node)} + 1) * file_.row_bytes,
                  alignment_);
}

bool ExtentCursor::next(Extent& extent) {
  if (at_ == rows_.size()) return false;
  const std::uint64_t begin = begin_of(at_);
  std::uint64_t end = end_of(at_);
  extent.first = at_++;
  while (at_ < rows_.size()) {
    GNEISS_ASSERT(rows_[at_ - 1].node < rows_[at_].node);
    const std::uint64_t end_with_it = end_of(at_);
    if (begin_of(at_) > end + options_.gap_bytes || end_with_it - begin > options_.read_bytes_max) break;
    end = end_with_it;
    ++at_;
  }
  extent.offset = begin;
  extent.bytes = end - begin;
  extent.count = at_ - extent.first;
  return true;
}

RowReader::RowReader(const RowFile& file, const RowReaderOptions& options)
    : file_(file),
      coalesce_(options.coalesce),
      engine_(make_io_engine(options.engine, {.queue_depth = options.queue_depth, .direct = true})),
      extents_(options.queue_depth),
      completions_(options.queue_depth) {
  id_ = engine_->open(file.path);
  // A single row that begins and ends inside of sectors takes two of them more.
  slot_bytes_ =
      round_up(std::max(coalesce_.read_bytes_max, file.row_bytes + 2 * alignment()), direct_io_alignment);
  memory_ = AlignedBuffer(slot_bytes_ * options.queue_depth);
  const std::span<std::byte> whole = memory_.bytes();
  engine_->register_buffers(std::span(&whole, 1));
  for (std::uint32_t slot = options.queue_depth; slot-- > 0;) free_slots_.push_back(slot);
  requests_.reserve(options.queue_depth);
}

void RowReader::read(std::span<const RowRead> ascending, std::span<std::byte> target) {
  ExtentCursor cursor(file_, alignment(), coalesce_, ascending);
  const auto request_of = [&](std::uint32_t slot) {
    const Extent& extent = extents_[slot];
    return ReadRequest{.file = id_,
                       .offset = extent.offset,
                       .target = memory_.bytes().subspan(slot * slot_bytes_, extent.bytes),
                       .tag = slot};
  };
  int failure = 0;
  ReadRequest failed;
  for (bool has_more = true; has_more || engine_->in_flight() > 0;) {
    requests_.clear();
    while (has_more && failure == 0 && !free_slots_.empty()) {
      const std::uint32_t slot = free_slots_.back();
      has_more = cursor.next(extents_[slot]);
      if (!has_more) break;
      free_slots_.pop_back();
      requests_.push_back(request_of(slot));
    }
    if (failure != 0) has_more = false;
    if (!requests_.empty()) engine_->submit(requests_);
    if (engine_->in_flight() == 0) break;
    const std::size_t count = engine_->reap(completions_, 1);
    const Stopwatch watch;
    for (const ReadCompletion& completion : std::span(completions_).first(count)) {
      const auto slot = static_cast<std::uint32_t>(completion.tag);
      free_slots_.push_back(slot);
      if (completion.error != 0) {
        failure = completion.error;
        failed = request_of(slot);
        continue;
      }
      const Extent& extent = extents_[slot];
      ++cost_.reads;
      cost_.bytes += extent.bytes;
      const std::byte* landed = memory_.data() + slot * slot_bytes_;
      for (const RowRead& row : ascending.subspan(extent.first, extent.count)) {
        const std::uint64_t place = file_.offset + to_index(row.node) * file_.row_bytes - extent.offset;
        std::memcpy(target.data() + row.target * file_.row_bytes, landed + place, file_.row_bytes);
      }
    }
    cost_.copy_seconds += watch.seconds();
  }
  if (failure != 0) fail_read(*engine_, failed, failure);
}

}  // namespace gneiss::ladder
