// Asynchronous reads: one interface over io_uring, pread threads and mmap.
//
// Why:     the pipeline keeps many large reads in flight without a thread for each; where io_uring is
//          refused (containers' seccomp, sysctl) the same run goes on over pread.
// Threads: one thread submits and reaps; open() and register_buffers() come before the first submit.
// Memory:  data lands in the caller's memory, which must outlive the completion.
// Errors:  a failed read is a completion with its error; EINTR, EAGAIN and short reads are retried here,
//          at most `retries_max` times a request, and counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gneiss {

enum class FileId : std::uint32_t {};

struct ReadRequest {
  FileId file{};
  std::uint64_t offset = 0;     // bytes; with direct access a multiple of alignment(file)
  std::span<std::byte> target;  // with direct access aligned in address and size too
  std::uint64_t tag = 0;        // handed back with the completion
};

struct ReadCompletion {
  std::uint64_t tag = 0;
  int error = 0;  // 0: target is filled; else errno; ENODATA: the file ended first
};

struct IoCounters {
  std::uint64_t reads = 0;  // completed read requests
  std::uint64_t bytes = 0;
  std::uint64_t retries = 0;
  double submit_seconds = 0;  // processor time would need the kernel's help: wall time inside calls
};

struct IoOptions {
  std::uint32_t queue_depth = 64;  // requests in flight at most
  bool direct = true;              // bypass the page cache where the file system allows it
};

class IoEngine {
 public:
  virtual ~IoEngine() = default;

  virtual std::string_view name() const noexcept = 0;  // "io_uring", "pread", "mmap"
  // Opens and registers a file for reading. Throws Error(input) when missing, Error(io).
  FileId open(const std::filesystem::path& path);
  const std::string& path(FileId file) const;
  std::uint64_t file_bytes(FileId file) const;
  bool is_direct(FileId file) const;           // false where the file system refused, or options.direct is
  std::uint32_t alignment(FileId file) const;  // 1 without direct access

  // Memory that most reads will land in: pinned once where the engine can; a no-op elsewhere.
  virtual void register_buffers(std::span<const std::span<std::byte>> buffers) = 0;

  std::uint32_t queue_depth() const noexcept { return options_.queue_depth; }
  std::uint32_t in_flight() const noexcept { return in_flight_; }

  // Queues a read. Precondition: in_flight() < queue_depth(), and the range lies inside the file
  // (the last block may reach past its end by less than the alignment).
  void submit(const ReadRequest& request);
  // Waits until at least `least` of the reads in flight are complete (0: does not wait) and returns those
  // complete, at most completions.size(). Completions come in any order.
  std::size_t reap(std::span<ReadCompletion> completions, std::size_t least);

  const IoCounters& counters() const noexcept { return counters_; }

 protected:
  explicit IoEngine(IoOptions options) : options_(options) {}

  struct OpenFile;  // the descriptor and what was learnt about it; in io_engine.cc

 private:
  IoOptions options_;
  std::uint32_t in_flight_ = 0;
  IoCounters counters_;
};

// "auto" takes io_uring where the kernel allows it, else pread, and says so once in the log.
// Names: auto | io_uring | pread | mmap. Throws Error(config) for another name, Error(io) when an engine
// asked for by name is refused.
std::unique_ptr<IoEngine> make_io_engine(std::string_view name, IoOptions options);

// Reads one range through an engine and waits. Throws Error(io | corruption) naming file and offset.
void read_blocking(IoEngine& engine, FileId file, std::uint64_t offset, std::span<std::byte> target);

// The sentence for a failed completion: which file, where, why, and the exit kind that fits.
[[noreturn]] void fail_read(const IoEngine& engine, const ReadRequest& request, int error);

}  // namespace gneiss
