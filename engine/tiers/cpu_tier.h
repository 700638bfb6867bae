// The cpu tier: rows in host memory, read in place through one u32 slot per input row.
//
// Which:   with `static` residency the same rows for good. With `belady` each training batch leaves rows in
//          it that later ones read, so that batches must be computed in the pool's order, each released
//          before the next one's rows are looked at; validation and test batches read only rows that stay.
// Memory:  slots * row_bytes, taken once, filled in one sweep of cpu.bin with its checksums verified.
// Threads: rows are read by the thread that calls release(), or read-only with `static`.
#pragma once

#include <cstdint>

#include "engine/compute/tiered_rows.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/parallel.h"
#include "storage/format/preparation.h"

namespace gneiss {

class CpuTier {
 public:
  explicit CpuTier(const Preparation& preparation);

  const std::byte* rows() const noexcept { return rows_.data(); }
  std::span<std::byte> memory() noexcept { return rows_.bytes(); }  // the rows, for a device to be told of
  std::uint64_t row_count() const noexcept { return row_count_; }   // slots, filled or not
  std::uint64_t bytes() const noexcept { return rows_.size(); }
  bool is_exchanged() const noexcept { return !moves_.empty(); }  // `belady`

  // Before a training batch is computed: throws Error(config) where the pool's order has another one here.
  void expect(const BatchKey& key) const;
  // When a training batch is computed: keeps the rows it leaves to later ones.
  //   pool  shares the copying; null: the calling thread alone
  void release(const BatchKey& key, const TieredRows& input, std::span<const std::uint32_t> admitted_rows,
               std::span<const std::uint32_t> admitted_slots, ThreadPool* pool = nullptr);
  // As at construction: the next training batch is the pool's first.
  void rewind();

 private:
  std::byte* slot(std::uint32_t index) noexcept { return rows_.data() + std::size_t{index} * row_bytes_; }
  void end_cycle();

  const Preparation& preparation_;
  std::uint64_t row_count_;
  std::uint64_t row_bytes_;
  AlignedBuffer rows_;
  std::vector<std::uint32_t> moves_;
  std::vector<bool> is_moved_;  // scratch of end_cycle()
  bool is_as_loaded_ = true;    // no batch has left rows yet
  std::uint32_t epoch_ = 0;     // of the training batch to come
  std::uint32_t batch_ = 0;
};

}  // namespace gneiss
