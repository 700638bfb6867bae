// The assemble stage: decompresses what was read, makes the views that a model works on, and compares
// segments with their checksums unless PipelinedSource::next() does.
//
// Threads: its own, from start to the destructor.
#pragma once

#include <thread>

#include "engine/pipeline/batch_slot.h"
#include "engine/pipeline/stage_clock.h"
#include "engine/tiers/cpu_tier.h"
#include "engine/tiers/tier_base.h"
#include "storage/base/bounded_queue.h"

namespace gneiss {

struct AssemblyOptions {
  bool verify_segments = true;  // compare segments with their checksums
  bool transpose = true;        // inner blocks by source too: needed for training
};

class Assembler {
 public:
  Assembler(const Preparation& preparation, const DatasetInfo& dataset, TierBase gpu_tier,
            const CpuTier& cpu_tier, AssemblyOptions options, Trace* trace);  // `trace` may be null

  void start(BoundedQueue<BatchSlot*>& read_slots, BoundedQueue<BatchSlot*>& ready_slots);
  StageTimes times() { return clock_.snapshot(); }

  // Assembles one slot whose reads are complete. Throws Error(corruption) naming the batch.
  void assemble(BatchSlot& slot);

 private:
  void run(const std::stop_token& stop);

  const Preparation& preparation_;
  const DatasetInfo& dataset_;
  const TierBase gpu_tier_;
  const CpuTier& cpu_tier_;
  const AssemblyOptions options_;
  Trace* trace_;
  FrameDecompressor decompressor_;
  BoundedQueue<BatchSlot*>* read_slots_ = nullptr;
  BoundedQueue<BatchSlot*>* ready_slots_ = nullptr;
  StageClock clock_;
  std::jthread thread_;  // last: joins before what it uses is destroyed
};

}  // namespace gneiss
