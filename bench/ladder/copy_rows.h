// Copies many rows from place to place on several threads, fetching ahead: what a gather in memory costs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "storage/base/aligned_buffer.h"
#include "storage/base/parallel.h"
#include "storage/base/stopwatch.h"

namespace gneiss::ladder {

struct RowCopy {
  const std::byte* from = nullptr;  // null: nothing to copy
  std::byte* to = nullptr;
};

// copy_of(i) for each i in [first, last).
template <class CopyOf>
void copy_row_range(std::size_t first, std::size_t last, std::size_t row_bytes, const CopyOf& copy_of) {
  constexpr std::size_t ahead = 8;  // rows: a fetch from memory takes as long as copying a few of them
  for (std::size_t i = first; i < last; ++i) {
    if (i + ahead < last) {
      const std::byte* from = copy_of(i + ahead).from;
      if (from != nullptr) {
        for (std::size_t byte = 0; byte < std::min<std::size_t>(row_bytes, 256); byte += 64)
          __builtin_prefetch(from + byte);
      }
    }
    const RowCopy copy = copy_of(i);
    if (copy.from != nullptr) std::memcpy(copy.to, copy.from, row_bytes);
  }
}

// The same on a pool; returns the seconds, summed over threads.
template <class CopyOf>
double copy_rows(ThreadPool& pool, std::size_t count, std::size_t row_bytes, const CopyOf& copy_of) {
  constexpr std::size_t piece_rows = 4096;
  std::atomic<double> seconds{0};
  pool.parallel_for(divide_up(count, piece_rows), [&](std::size_t piece, std::size_t) {
    const Stopwatch watch;
    copy_row_range(piece * piece_rows, std::min(count, (piece + 1) * piece_rows), row_bytes, copy_of);
    seconds += watch.seconds();
  });
  return seconds;
}

}  // namespace gneiss::ladder
