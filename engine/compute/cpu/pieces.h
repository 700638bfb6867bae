// How the CPU backend cuts its work into pieces, and who does them.
//
// Why:     the shape of a piece is a function of the data alone, so a sum over pieces is the same to the
//          bit for any number of threads.
// Threads: one thread calls; each piece is one thread's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "engine/compute/cpu/kernels.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/parallel.h"

namespace gneiss::cpu {

// Rows of one piece. 256 rows of 256 columns are 256 KiB: a piece's product and what follows it stay in a
// core's L2, and 1,000 seeds still make pieces for four cores.
inline constexpr std::size_t piece_rows = 256;
// Weight gradients sum over rows: at most this many partial products, for each takes a weight's memory.
inline constexpr std::size_t partial_count_max = 16;

struct Pieces {
  std::size_t count = 0;
  std::size_t rows = 0;  // of all pieces but the last
};

// Cuts `rows` into at most `count_max` pieces of `rows_min` or more: a function of its arguments alone.
inline Pieces cut(std::size_t rows, std::size_t rows_min, std::size_t count_max) {
  if (rows == 0) return {};
  const std::size_t count = std::min<std::size_t>(divide_up(rows, rows_min), count_max);
  const std::size_t piece = round_up(divide_up(rows, count), 16);
  return {divide_up(rows, piece), piece};
}

inline RowRange rows_of(const Pieces& pieces, std::size_t piece, std::size_t rows) {
  return {piece * pieces.rows, std::min(rows, (piece + 1) * pieces.rows)};
}

class PieceRunner {
 public:
  explicit PieceRunner(ThreadPool& pool) : pool_(&pool) {}

  std::size_t thread_count() const noexcept { return pool_->thread_count(); }

  // Calls work(piece) for each. A reference to the work fits into a std::function without memory of its own.
  template <class Work>
  void run(std::size_t piece_count, const Work& work) const {
    const auto call = [&work](std::size_t piece, std::size_t) { work(piece); };
    pool_->parallel_for(piece_count, std::cref(call));
  }
  // Calls work(piece, worker): what a thread needs for itself is kept by its number.
  template <class Work>
  void run_of_worker(std::size_t piece_count, const Work& work) const {
    pool_->parallel_for(piece_count, std::cref(work));
  }
  // Calls work(range) for pieces of `piece_rows` rows.
  template <class Work>
  void for_rows(std::size_t rows, const Work& work) const {
    const Pieces pieces{divide_up(rows, piece_rows), piece_rows};
    run(pieces.count, [&](std::size_t piece) { work(rows_of(pieces, piece, rows)); });
  }
  template <class Work>
  void for_rows_of_worker(std::size_t rows, const Work& work) const {
    const Pieces pieces{divide_up(rows, piece_rows), piece_rows};
    run_of_worker(pieces.count,
                  [&](std::size_t piece, std::size_t worker) { work(rows_of(pieces, piece, rows), worker); });
  }

 private:
  ThreadPool* pool_;
};

}  // namespace gneiss::cpu
