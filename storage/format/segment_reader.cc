#include "storage/format/segment_reader.h"

#include <algorithm>
#include <array>

#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::uint64_t read_bytes = std::uint64_t{1} << 20;
constexpr std::uint64_t ring_bytes_least = 8 * read_bytes;
constexpr std::uint32_t reads_at_once = 32;

std::uint64_t segment_bytes(const PackFile& pack, std::size_t batch) {
  std::uint64_t bytes = 0;
  for (const Extent& extent : pack.extents(batch)) bytes += extent.bytes;
  return bytes;
}

std::uint64_t largest_segment_bytes(const PackFile& pack) {
  std::uint64_t bytes = 0;
  for (std::size_t batch = 0; batch < pack.entries().size(); ++batch) {
    bytes = std::max(bytes, segment_bytes(pack, batch));
  }
  return bytes;
}

}  // namespace

SegmentReader::SegmentReader(const PackFile& pack)
    : pack_(pack),
      ring_(AlignedBuffer::uninitialized(std::max(2 * largest_segment_bytes(pack), ring_bytes_least))),
      flights_(reads_at_once),
      engine_(make_io_engine("auto", {.queue_depth = reads_at_once})),
      file_(engine_->open(pack.file().name())) {
  for (std::uint32_t flight = reads_at_once; flight-- > 0;) free_flights_.push_back(flight);
}

// Moves head_ to where so many bytes are free in one piece.
bool SegmentReader::fits(std::uint64_t bytes) noexcept {
  if (segments_.empty()) {
    head_ = 0;
    return true;
  }
  const std::uint64_t tail = segments_.front().begin;
  if (head_ > tail) {
    if (bytes <= ring_.size() - head_) return true;
    if (bytes > tail) return false;
    head_ = 0;
    return true;
  }
  return bytes <= tail - head_;  // nothing is free where the two meet
}

// Makes room for the next batch that reads anything.
bool SegmentReader::place_next() {
  for (; next_to_place_ < pack_.entries().size(); ++next_to_place_) {
    const std::uint64_t bytes = segment_bytes(pack_, next_to_place_);
    if (bytes == 0) continue;
    if (!fits(bytes)) return false;
    std::uint64_t reads = 0;
    for (const Extent& extent : pack_.extents(next_to_place_)) reads += divide_up(extent.bytes, read_bytes);
    segments_.push_back({.batch = next_to_place_++, .begin = head_, .bytes = bytes, .reads_left = reads});
    head_ += bytes;
    extent_ = 0;
    in_extent_ = 0;
    in_segment_ = 0;
    return true;
  }
  return false;
}

void SegmentReader::submit_more() {
  while (!free_flights_.empty()) {
    const bool is_all_submitted = segments_.empty() || in_segment_ == segments_.back().bytes;
    if (is_all_submitted && !place_next()) return;
    Segment& segment = segments_.back();
    const Extent& extent = pack_.extents(segment.batch)[extent_];
    const std::uint64_t bytes = std::min(read_bytes, extent.bytes - in_extent_);
    const std::uint32_t flight = free_flights_.back();
    free_flights_.pop_back();
    flights_[flight] = {.request = {.file = file_,
                                    .offset = extent.offset + in_extent_,
                                    .target = ring_.bytes().subspan(segment.begin + in_segment_, bytes),
                                    .tag = flight},
                        .segment = &segment};
    engine_->submit(flights_[flight].request);
    in_segment_ += bytes;
    in_extent_ += bytes;
    if (in_extent_ < extent.bytes) continue;
    ++extent_;
    in_extent_ = 0;
  }
}

void SegmentReader::reap() {
  std::array<ReadCompletion, reads_at_once> completions;
  const std::size_t count = engine_->reap(completions, 1);
  for (const ReadCompletion& completion : std::span(completions).first(count)) {
    const Flight& flight = flights_[completion.tag];
    Segment& segment = *flight.segment;
    --segment.reads_left;
    if (completion.error != 0 && (segment.error == 0 || flight.request.offset < segment.failed.offset)) {
      segment.error = completion.error;
      segment.failed = flight.request;
    }
    free_flights_.push_back(static_cast<std::uint32_t>(completion.tag));
  }
}

std::span<const std::byte> SegmentReader::next() {
  GNEISS_ASSERT(next_to_give_ < pack_.entries().size());
  if (has_given_) segments_.pop_front();
  has_given_ = false;
  submit_more();
  const std::size_t batch = next_to_give_++;
  if (segments_.empty() || segments_.front().batch != batch) return {};
  Segment& segment = segments_.front();
  while (segment.reads_left > 0) {
    reap();
    submit_more();
  }
  if (segment.error != 0) fail_read(*engine_, segment.failed, segment.error);
  has_given_ = true;
  return ring_.bytes().subspan(segment.begin, segment.bytes);
}

}  // namespace gneiss
