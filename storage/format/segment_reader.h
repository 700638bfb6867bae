// Reads what each batch of a pack reads, batch after batch, ahead of who takes it.
//
// Why:     a segment may be small, and a drive gives its speed only to several reads at once.
// Memory:  a ring of twice the largest segment, at least 8 MiB, taken at construction.
// Threads: one.
// Errors:  io, corruption (the file ended first), with file and offset; those of a batch before those of the
// next.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/format/pack_file.h"
#include "storage/io/io_engine.h"

namespace gneiss {

class SegmentReader {
 public:
  explicit SegmentReader(const PackFile& pack);  // which outlives this

  // The bytes of the next batch, as PackFile::check() takes them, until the next call; none for a batch that
  // reads nothing. Precondition: there is a batch left.
  std::span<const std::byte> next();

 private:
  struct Segment {  // on its way, or there
    std::size_t batch = 0;
    std::uint64_t begin = 0;  // in the ring
    std::uint64_t bytes = 0;
    std::uint64_t reads_left = 0;  // submitted or not
    int error = 0;                 // of the failed read that begins first
    ReadRequest failed{};
  };
  struct Flight {
    ReadRequest request;
    Segment* segment = nullptr;
  };

  bool place_next();
  bool fits(std::uint64_t bytes) noexcept;
  void submit_more();
  void reap();

  const PackFile& pack_;
  AlignedBuffer ring_;
  std::uint64_t head_ = 0;        // where the next segment goes
  std::deque<Segment> segments_;  // in the order of their batches; the first was handed out if has_given_
  bool has_given_ = false;
  std::size_t next_to_give_ = 0;   // batches
  std::size_t next_to_place_ = 0;  // batches
  // Where the last segment placed has come: what of it is not submitted yet.
  std::size_t extent_ = 0;        // of its batch
  std::uint64_t in_extent_ = 0;   // bytes
  std::uint64_t in_segment_ = 0;  // bytes
  std::vector<Flight> flights_;   // by tag
  std::vector<std::uint32_t> free_flights_;
  std::unique_ptr<IoEngine> engine_;  // last: waits for its reads before their memory goes
  FileId file_{};
};

}  // namespace gneiss
