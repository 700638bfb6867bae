// All batches of a schedule sampled ahead, from a topology that need not fit in memory.
//
// Why:     sampled one by one, each batch would read a block of graph.csc for every node it meets. Many
//          batches together (a wave: as many as the budget holds) want nearly every block, and get them in
//          the order of the file.
// Same:    the batches are MemorySampler's, bit by bit, whatever the budget, waves and threads.
// Memory:  at construction at most `memory_bytes`; then 200 bytes a batch, for batches wait on disk.
// Errors:  config (one batch alone is beyond the budget), corruption, io, cancelled.
#pragma once

#include <cstdint>

#include "sampler/batch_sampler.h"
#include "sampler/batch_scratch.h"
#include "sampler/sweep_wave.h"

namespace gneiss {

struct SweepOptions {
  SamplerOptions sampler;
  std::uint64_t memory_bytes = 0;
  GraphSweepOptions graph{};
  // Where finished waves are kept for a later sampler of the same; empty: nowhere.
  std::filesystem::path work_folder{};
  std::uint64_t made_from = 0;  // of what this is: what other work has left there is not taken up
};

class SweepSampler final : public BatchSampler {
 public:
  // Samples everything, here and now.
  SweepSampler(const Dataset& dataset, const BatchSchedule& schedule, const SweepOptions& options,
               ThreadPool& pool);

  void sample(std::size_t index, std::size_t, SampledBatch& batch) override { scratch_.load(index, batch); }
  const char* label() const noexcept override { return "reading batches"; }

  std::uint32_t wave_count() const noexcept { return waves_; }       // sampled here
  std::uint64_t bytes_read() const noexcept { return bytes_read_; }  // of graph.csc
  std::uint64_t scratch_bytes() const noexcept { return scratch_.bytes(); }

 private:
  void sample_ahead(const Dataset& dataset, const BatchSchedule& schedule, const SweepOptions& options,
                    ThreadPool& pool, std::size_t first, SweepWave::Needs needs);
  void save(const SweepOptions& options, std::size_t done, const SweepWave::Needs& needs);

  BatchScratch scratch_;
  std::uint32_t waves_ = 0;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace gneiss
