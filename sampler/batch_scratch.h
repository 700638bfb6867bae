// Sampled batches on disk, until both passes of prepare have read them: in a file without a name, or in one
// that outlives a kill.
//
// Why raw: node ids hardly compress (about 1 in 4 at level 1), and compressing takes longer than a drive
//          takes to write what it would save.
// Threads: store() and load() may run concurrently, each batch stored before it is loaded.
// Memory:  nothing of a batch; of what is written and read little stays in the page cache.
// Errors:  io (a full disk), corruption (the drive gives back other bytes).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <vector>

#include "sampler/batches.h"
#include "sampler/neighbor_sampler.h"
#include "storage/format/checkpoint.h"
#include "storage/io/file.h"

namespace gneiss {

class BatchScratch {
 public:
  // Lies in `folder`, or in the system's temporary folder where that cannot be written.
  BatchScratch(const std::filesystem::path& folder, std::size_t batch_count);
  BatchScratch(File file, std::size_t batch_count) : file_(std::move(file)), entries_(batch_count) {}
  static File open_file(const std::filesystem::path& path);  // as it is there, or empty

  void store(std::size_t index, const SampledBatch& batch);
  void load(std::size_t index, SampledBatch& batch) const;
  // Makes the first `batch_count` batches, all that are stored, durable and tells where they lie.
  void save(std::size_t batch_count, std::vector<std::uint64_t>& numbers) const;
  // Takes up what save() told; returns how many batches that is. Throws Error(corruption) unless the file can
  // hold them; each is checked when it is loaded, its ids against `node_count` too.
  std::size_t go_on(CheckpointReader& numbers, const BatchSchedule& schedule, std::uint64_t node_count);
  std::uint64_t bytes() const noexcept { return end_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    BatchKey key;
    std::uint32_t seed_count = 0;
    std::uint64_t node_count = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::uint64_t xxh3 = 0;  // of all arrays, one after the other
    struct Block {
      std::uint32_t dst_count = 0;
      std::uint32_t src_count = 0;
      std::uint64_t edges = 0;
      std::uint64_t edge_positions = 0;
    };
    std::vector<Block> blocks;
  };

  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  void send_to_drive(Range range);

  File file_;
  std::atomic<std::uint64_t> end_{0};
  std::vector<Entry> entries_;
  std::size_t taken_up_ = 0;  // the first so many are another process's work
  std::uint64_t node_count_ = 0;
  std::mutex mutex_;  // guards the next two
  std::deque<Range> on_their_way_;
  std::uint64_t bytes_on_their_way_ = 0;
};

}  // namespace gneiss
