// read → assemble → compute: the batches of a schedule, brought ahead of their use.
//
// Why:     reads hide behind computation; how far ahead is bounded by the slots, that is by memory.
// Memory:  slot_count * slot bytes, taken at construction.
// Threads: a reader and an assembler; the consumer is the caller. The destructor stops and joins them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/pipeline/assembler.h"
#include "engine/pipeline/reader.h"

namespace gneiss {

struct PipelineOptions {
  std::uint32_t slot_count = 4;         // batches in flight, the one being computed included
  std::string io_engine = "auto";       // auto | io_uring | pread | mmap
  std::uint32_t queue_depth = 64;       // reads in flight at most
  std::uint32_t read_bytes = 1U << 20;  // of one read at most
  bool direct = true;                   // bypass the page cache
  AssemblyOptions assembly{};
  TierBase gpu_tier{};         // where its rows lie, all of the preparation's; borrowed
  Trace* trace = nullptr;      // where the timeline goes; null: nowhere
  ThreadPool* pool = nullptr;  // of the thread that calls next(): shares its copying and checking; null: none
  std::function<std::unique_ptr<IoEngine>()> make_engine{};  // tests' own; empty: as said above
};

struct PipelineTimes {
  StageTimes reader;  // busy: the drive is reading
  StageTimes assembler;
  StageTimes uploader;        // where a device computes, busy: copying to it
  StageTimes consumer;        // busy: computing; starved: waiting for a batch
  double device_seconds = 0;  // that a device computed, by its own clock, of batches that are done

  PipelineTimes operator-(const PipelineTimes& earlier) const noexcept {
    return {reader - earlier.reader, assembler - earlier.assembler, uploader - earlier.uploader,
            consumer - earlier.consumer, device_seconds - earlier.device_seconds};
  }
};

class PipelinedSource final : public BatchSource {
 public:
  // Borrows preparation, dataset info and cpu tier, which belongs to one source at a time. Starts reading at
  // once. A batch handed out counts as computed, and leaves its rows in the cpu tier, at the next call of
  // next() or in the destructor.
  PipelinedSource(const Preparation& preparation, const DatasetInfo& dataset, CpuTier& cpu_tier,
                  const PipelineOptions& options, BatchSchedulePlan plan);
  // With a reader engine of the caller's, which options.io_engine, queue_depth and direct do not concern.
  PipelinedSource(const Preparation& preparation, const DatasetInfo& dataset, CpuTier& cpu_tier,
                  const PipelineOptions& options, BatchSchedulePlan plan, std::unique_ptr<IoEngine> engine);
  ~PipelinedSource() override;

  const SourcedBatch* next() override;

  PipelineTimes times();
  std::string_view io_engine_name() const noexcept { return engine_->name(); }
  const IoCounters& io_counters() const noexcept { return engine_->counters(); }  // after the last batch
  bool is_direct() const noexcept { return is_direct_; }
  // What batches lie in, for a device to be told of.
  std::vector<std::span<std::byte>> memory() const;

 private:
  void release_current();
  void check_current() const;

  const Preparation& preparation_;
  CpuTier& cpu_tier_;
  std::vector<std::unique_ptr<BatchSlot>> slots_;
  std::unique_ptr<IoEngine> engine_;
  BoundedQueue<BatchSlot*> free_slots_;
  BoundedQueue<BatchSlot*> read_slots_;
  BoundedQueue<BatchSlot*> ready_slots_;
  StageClock consumer_;
  Trace* trace_;
  ThreadPool* pool_;
  const bool verifies_;  // here, on all of the pool's threads, not in the assembler
  BatchSlot* current_ = nullptr;
  std::exception_ptr failure_;  // the first; what follows it does not count
  bool is_direct_ = false;
  Assembler assembler_;
  Reader reader_;
};

}  // namespace gneiss
