// The read stage: brings a batch's frame and segment from the drive into its slot.
//
// Why:     reads of several batches are in flight at once, so that the drive never waits for a batch's end;
//          segments land where the first layer reads them.
// Threads: its own, from start to the destructor. Slots come back through `free_slots`.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "engine/pipeline/batch_slot.h"
#include "engine/pipeline/stage_clock.h"
#include "storage/base/bounded_queue.h"
#include "storage/io/io_engine.h"

namespace gneiss {

// The batch at a position of the schedule: an index into the pool; empty: the end.
using BatchSchedulePlan = std::function<std::optional<std::size_t>(std::uint64_t position)>;

class Reader {
 public:
  // `slots` are registered with the engine. `trace` may be null. Nothing is read before start().
  Reader(const Preparation& preparation, IoEngine& engine, std::span<const std::unique_ptr<BatchSlot>> slots,
         std::uint32_t read_bytes, Trace* trace);

  // Reads along `plan`, taking slots from `free_slots` and handing them on in order.
  void start(BatchSchedulePlan plan, BoundedQueue<BatchSlot*>& free_slots,
             BoundedQueue<BatchSlot*>& read_slots);

  StageTimes times() { return clock_.snapshot(); }  // busy: reads are in flight
  // Why the stage ended early, apart from a batch's own failure; valid once read_slots is closed and drained.
  std::exception_ptr failure() const noexcept { return failure_; }

 private:
  void run(const std::stop_token& stop);
  void read_all(const std::stop_token& stop);
  void drain();
  bool take_slot(const std::stop_token& stop);  // false: none free now, or the schedule's end
  void submit_pieces();
  void complete(const ReadCompletion& completion);
  bool hand_on(const std::stop_token& stop);

  struct Range {
    FileId file{};
    std::uint64_t offset = 0;
    std::span<std::byte> target;
  };

  const Preparation& preparation_;
  IoEngine& engine_;
  const std::uint32_t read_bytes_;
  Trace* trace_;
  FileId pool_file_{};
  FileId pack_file_{};
  BatchSchedulePlan plan_;
  BoundedQueue<BatchSlot*>* free_slots_ = nullptr;
  BoundedQueue<BatchSlot*>* read_slots_ = nullptr;
  StageClock clock_;
  std::uint64_t position_ = 0;
  bool at_end_ = false;
  std::exception_ptr failure_;
  std::deque<BatchSlot*> in_order_;  // slots being read, oldest first
  std::deque<Range> to_submit_;      // of the newest slot
  std::vector<ReadRequest> requests_;
  std::jthread thread_;  // last: joins before what it uses is destroyed
};

}  // namespace gneiss
