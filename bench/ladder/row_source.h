// A strategy of the ladder: brings the rows of one batch after the other into a dense buffer.
//
// Threads: one caller; a strategy may use threads of its own inside deliver().
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

#include "bench/ladder/row_list.h"

namespace gneiss::ladder {

// What delivering took so far, as far as the strategy knows it itself.
struct DeliveryCost {
  std::uint64_t rows = 0;
  std::uint64_t rows_from_cache = 0;  // that needed no read of the drive
  std::uint64_t reads = 0;            // read operations of the drive
  std::uint64_t bytes = 0;            // that these read
  double copy_seconds = 0;            // of moving rows in memory, summed over threads

  DeliveryCost operator-(const DeliveryCost& earlier) const noexcept {
    return {rows - earlier.rows, rows_from_cache - earlier.rows_from_cache, reads - earlier.reads,
            bytes - earlier.bytes, copy_seconds - earlier.copy_seconds};
  }
};

class RowSource {
 public:
  RowSource() = default;
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;
  virtual ~RowSource() = default;

  // Off the clock: what the strategy's authors would have done ahead of time, and what is only measured.
  virtual void before(std::uint64_t position, const RowList& list) = 0;
  // On the clock. target: [list.size(), row_bytes]; row targets[i] becomes row nodes[i] of the file.
  virtual void deliver(std::uint64_t position, const RowList& list, std::span<std::byte> target) = 0;

  virtual DeliveryCost cost() const = 0;
  virtual std::uint64_t disk_bytes() const { return 0; }  // that it needs besides the features
  virtual nlohmann::json describe() const = 0;            // its parameters as they came true
};

}  // namespace gneiss::ladder
