// `memory`: all features in memory; a batch's rows are gathered, nothing is read.
#pragma once

#include "bench/ladder/row_source.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/parallel.h"

namespace gneiss::ladder {

class MemoryRows final : public RowSource {
 public:
  // Reads the whole matrix: row_count * row_bytes of memory.
  MemoryRows(const RowFile& file, std::size_t threads);

  void before(std::uint64_t /*position*/, const RowList& /*list*/) override {}
  void deliver(std::uint64_t position, const RowList& list, std::span<std::byte> target) override;
  DeliveryCost cost() const override { return cost_; }
  nlohmann::json describe() const override;

 private:
  const std::uint64_t row_bytes_;
  AlignedBuffer rows_;
  ThreadPool pool_;
  DeliveryCost cost_;
};

}  // namespace gneiss::ladder
