// Writes pieces on threads of its own, so that who fills them does not wait for the drive.
//
// Why:     a write that bypasses the page cache takes the drive's time; several in flight keep it busy while
//          the next pieces are filled.
// Memory:  `depth` pieces beyond those that are being filled.
// Threads: write() by many at once.
// Errors:  the first failed write is thrown by the next write() or by finish(): Error(io).
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/io/file.h"

namespace gneiss {

// As many pieces in flight as keep a drive busy, within a thirty-second of the memory; at least 2.
constexpr std::size_t writes_in_flight(std::uint64_t memory_bytes, std::size_t piece_bytes) noexcept {
  return std::clamp<std::size_t>(memory_bytes / 32 / piece_bytes, 2, 8);
}

class WriteBehind {
 public:
  // `file` is borrowed. Pieces are at most piece_bytes long.
  WriteBehind(const File& file, std::size_t piece_bytes, std::size_t depth);
  ~WriteBehind();  // drops what is not yet written, unless finish() came first
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Takes `piece`, whose first `bytes` go to `offset`, and leaves an empty one in its place, perhaps larger
  // but never smaller than piece_bytes. Waits while `depth` are on their way.
  void write(std::uint64_t offset, AlignedBuffer& piece, std::size_t bytes);
  // Writes from where the bytes are: they stay as they are until finish(). Waits as write() does.
  void write_in_place(std::uint64_t offset, std::span<const std::byte> bytes);
  void finish();  // waits for all of them

 private:
  struct Task {
    std::uint64_t offset = 0;
    AlignedBuffer piece;  // empty where the bytes are another's
    std::span<const std::byte> bytes;
  };
  void wait_for_room(std::unique_lock<std::mutex>& lock);
  void run(const std::stop_token& stop);

  const File& file_;
  const std::size_t depth_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  std::deque<Task> tasks_;
  std::vector<AlignedBuffer> empty_;
  std::size_t on_their_way_ = 0;
  std::exception_ptr failure_;
  std::vector<std::jthread> threads_;  // last: stop before what they use is destroyed
};

}  // namespace gneiss
