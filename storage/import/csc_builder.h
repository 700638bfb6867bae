// Turns a stream of edges in any order into CSC: for each destination its sources, ascending.
//
// Why:     the edges may be many times larger than memory. An edge becomes a 64-bit key (destination, then
//          source); keys are dealt into buckets of the key space in one scratch file, and each bucket is
//          then sorted in memory. A bucket that a hub made too large is dealt out again, however skewed the
//          degrees.
// Threads: add() may run concurrently for distinct workers; all else belongs to one thread. The result
//          depends on the edges alone, not on their order nor on the threads.
// Memory:  options.memory_bytes bounds buffers and sorting; 16 bytes more for each buffer that was written,
//          nothing per node.
// Disk:    8 bytes an edge in the scratch folder, given back as buckets are consumed.
// Errors:  io (disk full, device), corruption (the drive gives back other bytes), cancelled.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "storage/base/ids.h"
#include "storage/base/parallel.h"
#include "storage/io/scratch_file.h"

namespace gneiss {

class Progress;

struct CscOptions {
  std::uint64_t node_count = 0;
  std::uint64_t expected_edges = 0;  // a hint, before reverse edges; a wrong one costs time only
  bool add_reverse = false;          // for each edge its reverse too (a self-loop then counts twice)
  bool deduplicate = false;          // keeps one of equal edges
  bool self_loops = false;           // every node gets exactly one, whatever the input has
  std::uint64_t memory_bytes = 1ULL << 30;
  std::filesystem::path scratch_folder{};
};

// Receives the finished CSC, in order and in pieces.
struct CscSink {
  std::function<void(std::span<const std::uint64_t>)> indptr;   // N + 1 values in all
  std::function<void(std::span<const std::uint32_t>)> indices;  // E values in all
};

class CscBuilder {
 public:
  CscBuilder(CscOptions options, ThreadPool& pool);

  // Adds source → destination. Precondition: both are below node_count, worker < pool.thread_count().
  void add(std::size_t worker, std::uint32_t source, std::uint32_t destination) {
    if (source == destination && options_.self_loops) return;  // replaced by the one that finish() adds
    push(worker, key_of(source, destination));
    if (options_.add_reverse) push(worker, key_of(destination, source));
  }

  // Sorts and hands everything to `sink`; nothing may be added after. Returns the number of edges.
  std::uint64_t finish(const CscSink& sink);

 private:
  struct Bucket {
    std::uint64_t first_key = 0;
    int low_bits = 0;  // it covers keys [first_key, first_key + 2^low_bits)
    std::uint64_t count = 0;
    std::vector<ScratchPiece> chunks;
  };
  struct Sorted;
  class Emitter;

  std::uint64_t key_of(std::uint32_t source, std::uint32_t destination) const noexcept {
    return (std::uint64_t{destination} << id_bits_) | source;
  }
  void push(std::size_t worker, std::uint64_t key) {
    const std::size_t bucket = key >> low_bits_;
    std::uint32_t& filled = filled_[worker][bucket];
    buffers_[worker][bucket * buffer_keys_ + filled] = key;
    if (++filled == buffer_keys_) flush(worker, bucket);
  }
  ScratchPiece put_aside(std::span<const std::uint64_t> keys);
  void take_back(const ScratchPiece& chunk, std::span<std::uint64_t> keys) const;
  void flush(std::size_t worker, std::size_t bucket);
  void add_self_loops();
  std::vector<Bucket> split(const Bucket& bucket);
  void sort_bucket(const Bucket& bucket, Sorted& sorted) const;

  const CscOptions options_;
  ThreadPool& pool_;
  ScratchFile scratch_;
  int id_bits_ = 1;
  int low_bits_ = 0;
  std::uint64_t sortable_keys_ = 0;  // how many keys one worker may sort at once
  std::size_t buffer_keys_ = 0;
  std::vector<std::vector<std::uint64_t>> buffers_;  // per worker: buffer_keys_ for each bucket
  std::vector<std::vector<std::uint32_t>> filled_;   // per worker and bucket
  std::mutex chunks_mutex_;                          // guards buckets_ while edges are added
  std::vector<Bucket> buckets_;
};

}  // namespace gneiss
