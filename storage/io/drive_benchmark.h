// Measures what a drive gives: sequential and random reads of one size at one queue depth.
//
// Why:     every speed that Gneiss reports stands beside its ceiling from the same run, and the planner
//          predicts with numbers of this drive.
// Cache:   direct reads bypass it; for buffered ones and mmap the file is dropped from the page cache before
//          each sweep, and no block is read twice in a sweep.
// Threads: the calling thread measures; processor time is that of the whole process.
// Errors:  Error(config) for a workload that cannot be, Error(cancelled) when `stop` is requested.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>

#include "storage/io/file.h"
#include "storage/io/read_loop.h"

namespace gneiss {

struct ReadWorkload {
  std::string engine = "auto";
  bool direct = true;
  bool sequential = true;
  std::uint64_t block_bytes = std::uint64_t{1} << 20;  // a multiple of 4 KiB
  std::uint32_t queue_depth = 32;                      // mmap knows no depth: it is measured at 1
  double seconds = 2;
  std::uint64_t seed = 1;  // of the order of random blocks
};

struct ReadMeasurement {
  ReadWorkload workload;  // as it was run: with the engine, the access and the depth that came true
  ReadCost cost;
};

ReadMeasurement measure_reads(const std::filesystem::path& path, const ReadWorkload& workload,
                              const std::stop_token& stop);

// A file of bytes that do not compress, on the drive and not in the cache. It has no name in its folder
// once it is made, so that it vanishes with the process, however that ends.
class BenchmarkFile {
 public:
  // Throws Error(io) when there is no space, Error(cancelled) when `stop` is requested.
  BenchmarkFile(const std::filesystem::path& folder, std::uint64_t bytes, const std::stop_token& stop);
  ~BenchmarkFile();
  BenchmarkFile(const BenchmarkFile&) = delete;
  BenchmarkFile& operator=(const BenchmarkFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }  // to open it again
  std::uint64_t size() const { return file_.size(); }

 private:
  void fill(const File& target, std::uint64_t bytes, const std::stop_token& stop);
  void remove_name() noexcept;

  std::filesystem::path path_;
  File file_;
};

}  // namespace gneiss
