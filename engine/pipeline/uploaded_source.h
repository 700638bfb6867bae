// The upload stage: batches on their way from the host's memory into a device's.
//
// Why:     a device computes on one batch while the next is copied; the drive and the assembly are ahead of
//          both.
// Threads: a thread of its own takes batches from the host's pipeline and uploads them; the consumer is the
//          caller. The destructor stops and joins it.
// Errors:  as BatchSource; of the lowest batch that failed, after those before it.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/compute/batch_uploader.h"
#include "engine/pipeline/pipelined_source.h"
#include "engine/pipeline/stage_clock.h"
#include "storage/base/bounded_queue.h"

namespace gneiss {

class UploadedSource final : public BatchSource {
 public:
  // Borrows all; `host` is nobody else's from now on. `trace` may be null.
  UploadedSource(PipelinedSource& host, BatchUploader& uploader, Trace* trace);
  ~UploadedSource() override;

  // The view is the device's. What is computed from it is asked of the device before the next call, and
  // computed() says that it was: what comes between is not the device's time.
  const SourcedBatch* next() override;
  void computed();

  PipelineTimes times();

 private:
  struct Slot {
    std::size_t index = 0;
    SourcedBatch batch;
    std::vector<std::int32_t> targets;  // labels outlive the host's slot
    std::vector<std::uint8_t> label_rows;
    std::exception_ptr failure;
  };

  void run(const std::stop_token& stop);
  bool fill(Slot& slot);  // false: the schedule's end
  void reclaim(const Slot& slot);
  void release_current();

  PipelinedSource& host_;
  BatchUploader& uploader_;
  Trace* trace_;
  std::vector<std::span<std::byte>> pinned_;
  std::vector<Slot> slots_;
  BoundedQueue<Slot*> free_slots_;
  BoundedQueue<Slot*> ready_slots_;
  StageClock upload_clock_;
  StageClock consumer_clock_;
  std::mutex device_mutex_;  // guards
  double device_seconds_ = 0;
  Slot* current_ = nullptr;
  bool is_computed_ = false;    // the current one
  std::exception_ptr failure_;  // the first; what follows it does not count
  std::jthread thread_;         // last: joins before what it uses is destroyed
};

}  // namespace gneiss
