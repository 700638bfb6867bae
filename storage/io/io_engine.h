// Asynchronous reads: one checking shell over io_uring, pread threads or a mapping.
//
// Why:     the pipeline keeps many large reads in flight without a thread for each; where io_uring is
//          refused (containers' seccomp, sysctl) the same run goes on over pread.
// Threads: one thread at a time; it may change while nothing is in flight. Files are best opened, and
//          buffers registered, before the first submit.
// Memory:  data lands in the caller's memory, which must outlive the completion or the engine. Nothing is
//          allocated after open() and register_buffers().
// Errors:  a failed read is a completion with its error; EINTR, EAGAIN and short reads are retried here,
//          at most `retries_max` times a request, and counted; the first is told in the log.
// Stalls:  a drive that answers nothing is waited for without end, since the kernel still owns the targets;
//          after `stall_notice_seconds` the log tells once what is waited for. With mmap, which waits in
//          the middle of a copy, StallWatch does.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/io/io_core.h"

namespace gneiss {

struct ReadRequest {
  FileId file{};
  std::uint64_t offset = 0;     // bytes; with direct access a multiple of alignment(file)
  std::span<std::byte> target;  // with direct access aligned in address and size too
  std::uint64_t tag = 0;        // handed back with the completion
};

struct ReadCompletion {
  std::uint64_t tag = 0;
  int error = 0;  // 0: target is filled up to the end of the file; else errno; ENODATA: the file ended first
};

struct IoCounters {
  std::uint64_t reads = 0;     // completed read requests, failed ones included
  std::uint64_t bytes = 0;     // that landed in targets of completed requests
  std::uint64_t retries = 0;   // EINTR, EAGAIN and short reads that were tried again
  std::uint64_t failures = 0;  // completions with an error
  double submit_seconds = 0;   // wall time inside submit()
  double wait_seconds = 0;     // wall time inside reap()
};

struct IoOptions {
  std::uint32_t queue_depth = 64;  // requests in flight at most; 1 to 4096
  bool direct = true;              // bypass the page cache where the file system allows it
  std::uint32_t retries_max = 16;  // for one request
  double stall_notice_seconds = 5;
};

class IoEngine {
 public:
  // make_io_engine() is the usual way; tests pass a core of their own.
  IoEngine(std::unique_ptr<IoCore> core, IoOptions options);
  ~IoEngine();  // waits for the reads in flight
  IoEngine(const IoEngine&) = delete;
  IoEngine& operator=(const IoEngine&) = delete;

  std::string_view name() const noexcept { return core_->name(); }  // "io_uring", "pread", "mmap"
  // Opens and registers a file for reading; it stays open. Throws Error(input) when missing, Error(io).
  //   name  what errors call it, where its path would tell nothing; empty: the path
  FileId open(const std::filesystem::path& path, std::string name = {});
  const std::string& path(FileId file) const;
  std::uint64_t file_bytes(FileId file) const;  // when it was opened
  bool is_direct(FileId file) const;            // false where the file system refused, or options.direct is
  std::uint32_t alignment(FileId file) const;   // 1 without direct access; never above direct_io_alignment

  // Memory that most reads will land in: pinned once where the engine can and the system lets it; ignored
  // elsewhere. At most once, while nothing is in flight; the memory outlives the engine.
  void register_buffers(std::span<const std::span<std::byte>> buffers);

  // Lets go of that memory. The kernel takes down a ring when it comes to it: until then memory that is freed
  // stays pinned and counts in the control group beside what is taken next. Called by the thread that reads,
  // while nothing is in flight.
  void unregister_buffers();

  std::uint32_t queue_depth() const noexcept { return options_.queue_depth; }
  std::uint32_t in_flight() const noexcept { return in_flight_; }  // submitted and not yet reaped

  // Starts reads; a span costs one system call where each alone would cost one.
  // Precondition: in_flight() + requests.size() <= queue_depth(), alignment as ReadRequest says.
  // A range may reach past the end of the file by less than direct_io_alignment (the last block of a direct
  // read); the bytes there are unspecified. One further out completes with ENODATA.
  void submit(std::span<const ReadRequest> requests);
  void submit(const ReadRequest& request) { submit(std::span(&request, 1)); }
  // Waits until at least `least` of the reads in flight are complete (0: does not wait) and returns those
  // complete, at most completions.size(). Completions come in any order.
  // Precondition: least <= completions.size().
  std::size_t reap(std::span<ReadCompletion> completions, std::size_t least);

  const IoCounters& counters() const noexcept { return counters_; }

 private:
  struct OpenFile {
    File file;
    std::string name;
    std::uint64_t bytes = 0;
    std::uint32_t alignment = 1;
    bool direct = false;
  };
  struct Slot {  // a request in flight
    ReadRequest request;
    std::uint64_t filled = 0;
    std::uint64_t expected = 0;        // less than the target's size where that reaches past the end
    std::uint64_t transfer_bytes = 0;  // asked for by the transfer now in the core
    std::uint32_t retries = 0;
    std::uint64_t number = 0;  // of the request, from 1; 0: not in flight
  };

  const OpenFile& at(FileId file) const;
  void check(const ReadRequest& request) const;
  Transfer next_transfer(std::uint32_t index);
  void take_outcome(const Outcome& outcome);
  void complete(std::uint32_t index, int error);
  Patience patience_after(double silent_seconds) const;
  void tell_of_retry(const Slot& slot, std::int64_t result);
  void tell_of_stall(double silent_seconds);

  IoOptions options_;
  std::deque<OpenFile> files_;  // by FileId; a deque, for cores keep references
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Transfer> starting_;         // scratch of submit() and reap()
  std::vector<Outcome> outcomes_;          // scratch of reap()
  std::vector<ReadCompletion> completed_;  // not yet reaped
  std::uint32_t in_flight_ = 0;
  std::uint32_t in_core_ = 0;
  std::uint64_t submitted_ = 0;
  bool has_told_of_retry_ = false;
  bool has_told_of_stall_ = false;
  IoCounters counters_;
  std::unique_ptr<IoCore> core_;  // last: waits for its reads before what they use is destroyed
};

// "auto" takes io_uring where the kernel allows it, else pread, and says so once in the log.
// Names: auto | io_uring | pread | mmap. Throws Error(config) for another name or a queue depth out of
// range, Error(io) when an engine asked for by name is refused. GNEISS_IO_URING=off in the environment
// refuses io_uring as a container would.
std::unique_ptr<IoEngine> make_io_engine(std::string_view name, IoOptions options);

// Reads one range through an engine in pieces of 1 MiB and waits. Offset, address and size are aligned as
// for submit(). Precondition: nothing is in flight. Throws Error(io | corruption) naming file and offset.
void read_blocking(IoEngine& engine, FileId file, std::uint64_t offset, std::span<std::byte> target);

// The sentence for a failed completion: which file, where, why, and the exit kind that fits.
[[noreturn]] void fail_read(const IoEngine& engine, const ReadRequest& request, int error);

}  // namespace gneiss
