// Batches for training whose rows a strategy gathers: the seam at which mmap, lru and ginex meet the same
// trainer.
//
// Stages: lists (a batch's frame and rows, made into views) → rows (the strategy delivers) → consumer, so
//         that a strategy reads while the batch before is computed, as gneiss does.
// Memory: slot_count * (the largest batch's rows, its list of 8 bytes a row, and its frame).
// Threads: two, and what the strategy takes; the consumer is the caller.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "bench/ladder/row_source.h"
#include "engine/pipeline/batch_slot.h"
#include "engine/pipeline/stage_clock.h"
#include "storage/base/bounded_queue.h"

namespace gneiss::ladder {

class GatheredSource final : public BatchSource {
 public:
  // Positions [0, positions) of `lists`. Borrows all; starts at once.
  GatheredSource(const Preparation& preparation, const DatasetInfo& dataset, const RowLists& lists,
                 RowSource& source, std::uint32_t slot_count, std::uint64_t positions);
  ~GatheredSource() override;

  const SourcedBatch* next() override;
  StageTimes consumer_times() { return consumer_.snapshot(); }

 private:
  struct Slot {
    Slot(const SlotSizes& sizes, std::uint64_t rows_bytes) : batch(sizes), rows(rows_bytes) {}
    BatchSlot batch;
    AlignedBuffer raw;
    AlignedBuffer rows;
    RowList list;
  };
  void run_lists(const std::stop_token& stop);
  void run_rows(const std::stop_token& stop);
  void make_views(Slot& slot, std::uint64_t position);

  const Preparation& preparation_;
  const DatasetInfo& dataset_;
  const RowLists& lists_;
  RowSource& source_;
  const std::uint64_t positions_;
  std::vector<std::unique_ptr<Slot>> slots_;
  BoundedQueue<Slot*> free_slots_;
  BoundedQueue<Slot*> listed_slots_;
  BoundedQueue<Slot*> ready_slots_;
  StageClock consumer_;
  Slot* current_ = nullptr;
  std::exception_ptr failure_;  // the first: next() goes on failing with it
  std::jthread lists_thread_;   // last: they join before what they use is destroyed
  std::jthread rows_thread_;
};

}  // namespace gneiss::ladder
