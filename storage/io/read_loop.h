// Keeps an engine's queue full from a source of reads and times each: the inner loop of the benchmarks.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/io/io_engine.h"
#include "storage/io/latency_histogram.h"

namespace gneiss {

// What reads cost; grows by every loop that is given it.
struct ReadCost {
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
  double cpu_seconds = 0;  // user and system time of the whole process, the kernel's io workers included
  LatencyHistogram latency;

  double bytes_per_second() const noexcept;
  double reads_per_second() const noexcept;
  double cpu_seconds_per_gib() const noexcept;
};

class ReadLoop {
 public:
  struct Piece {
    FileId file{};
    std::uint64_t offset = 0;  // aligned as the engine wants it
    std::uint64_t bytes = 0;   // at most piece_bytes_max
    std::uint64_t tag = 0;
  };

  // Takes queue_depth * piece_bytes_max of memory and registers it with the engine, which it borrows.
  ReadLoop(IoEngine& engine, std::uint64_t piece_bytes_max);

  // Reads pieces until `next` returns false and all are complete, adding to `cost`.
  //   next  sets its argument and returns true, or false at the end
  //   done  is told the tag of each completed piece
  // Throws Error(io | corruption) when a read fails, after waiting for the others.
  void run(const std::function<bool(Piece&)>& next, const std::function<void(std::uint64_t)>& done,
           ReadCost& cost);

 private:
  using Clock = std::chrono::steady_clock;
  struct Flight {
    ReadRequest request;
    std::uint64_t tag = 0;
    Clock::time_point start;
  };

  IoEngine& engine_;
  std::uint64_t piece_bytes_max_;
  AlignedBuffer memory_;
  std::vector<Flight> flights_;  // by slot
  std::vector<std::uint32_t> free_slots_;
  std::vector<ReadRequest> batch_;
  std::vector<ReadCompletion> completions_;
};

}  // namespace gneiss
