// A read core that fails on purpose: errors, interruptions, short reads, late and reordered
// completions, stalls.
//
// Every fault is a function of the seed and of the transfer's number, so a failing test repeats with the
// seed that it prints.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "storage/base/random.h"
#include "storage/io/io_core.h"

namespace gneiss::test {

struct Faults {  // probabilities, each transfer for itself
  std::uint64_t seed = 1;
  double interrupted = 0;  // EINTR
  double again = 0;        // EAGAIN
  double short_reads = 0;  // a multiple of 512 bytes, what follows is garbage; only above 1 KiB
  double errors = 0;       // EIO
  double late = 0;         // each collect() holds an outcome back with this probability
  double stalls = 0;       // nothing at all comes back for so long, from this transfer's outcome on
  std::chrono::milliseconds stall_time{0};
  std::uint32_t stalls_max = ~0U;  // so many stalls at most
};

// By all cores of the process: errors, interruptions, short reads and stalls.
inline std::atomic<std::uint64_t> faults_struck{0};

class FaultyCore final : public IoCore {
 public:
  FaultyCore(std::unique_ptr<IoCore> inner, Faults faults);

  std::string_view name() const noexcept override { return inner_->name(); }
  bool can_bypass_cache() const noexcept override { return inner_->can_bypass_cache(); }
  void attach(FileId id, const File& file) override { inner_->attach(id, file); }
  void register_buffers(std::span<const std::span<std::byte>> buffers) override;
  void unregister_buffers() override;
  void start(std::span<const Transfer> transfers) override;
  std::size_t collect(std::span<Outcome> outcomes, Patience patience) override;

 private:
  using Clock = std::chrono::steady_clock;
  Outcome release(std::size_t held);
  // Whether the drive answers again within `patience`, which is less by the time that this took.
  bool sit_out_stall(Patience& patience) const;

  std::unique_ptr<IoCore> inner_;
  Faults faults_;
  RandomStream random_;
  std::vector<Outcome> held_;
  std::size_t inner_in_flight_ = 0;
  std::uint32_t stalls_ = 0;
  Clock::time_point silent_until_;
};

}  // namespace gneiss::test
