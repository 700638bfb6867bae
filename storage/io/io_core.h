// The small virtual core of a read engine: start transfers, collect outcomes. No checks, no retries.
//
// Why:     IoEngine checks, retries and counts once for all; a core only moves bytes, so io_uring, pread,
//          mmap and the fault-injecting core of the tests stay short and equally well guarded.
// Threads: start() and collect() come from one thread at a time; it may change while nothing is in flight.
// Errors:  an outcome carries -errno; only a failure of the mechanism itself is thrown.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "storage/io/file.h"

namespace gneiss {

enum class FileId : std::uint32_t {};

// A part of a request, at most transfer_bytes_max.
struct Transfer {
  std::uint32_t slot = 0;  // names the request; handed back with the outcome
  FileId file{};
  std::uint64_t offset = 0;
  std::span<std::byte> target;
};

struct Outcome {
  std::uint32_t slot = 0;
  std::int64_t result = 0;  // bytes read, 0 at the end of the file, or -errno
};

// The kernel moves at most 2 GiB - 4 KiB a call.
inline constexpr std::size_t transfer_bytes_max = std::size_t{1} << 30;

// How long collect() waits for an outcome.
using Patience = std::chrono::milliseconds;
inline constexpr Patience no_wait{0};
inline constexpr Patience without_end = Patience::max();

class IoCore {
 public:
  IoCore() = default;
  IoCore(const IoCore&) = delete;
  IoCore& operator=(const IoCore&) = delete;
  virtual ~IoCore() = default;  // waits until nothing is in flight: targets may be freed afterwards

  virtual std::string_view name() const noexcept = 0;
  // False where direct access means nothing: files are then opened through the page cache.
  virtual bool can_bypass_cache() const noexcept { return true; }
  // `file` outlives the core. Ids are handed out from 0 upwards, one each call.
  virtual void attach(FileId id, const File& file) = 0;
  // Memory that most transfers will land in; it outlives the core. Called at most once, may be ignored.
  virtual void register_buffers(std::span<const std::span<std::byte>> buffers) { static_cast<void>(buffers); }
  // Lets go of it at once. By the thread that reads, while nothing is in flight.
  virtual void unregister_buffers() {}

  // At most queue_depth transfers are in flight at any time, each with its own slot.
  virtual void start(std::span<const Transfer> transfers) = 0;
  // Returns the outcomes at hand, at most outcomes.size(). Where there are none it waits for one, given
  // one in flight; none come back when `patience` ends first. A core that cannot end a wait waits
  // without end.
  virtual std::size_t collect(std::span<Outcome> outcomes, Patience patience) = 0;
};

}  // namespace gneiss
