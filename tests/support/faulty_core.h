// A read core that fails on purpose: errors, interruptions, short reads, late and reordered completions.
//
// Every fault is a function of the seed and of the transfer's number, so a failing test repeats with the
// seed that it prints.
#pragma once

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
};

class FaultyCore final : public IoCore {
 public:
  FaultyCore(std::unique_ptr<IoCore> inner, Faults faults);

  std::string_view name() const noexcept override { return inner_->name(); }
  bool can_bypass_cache() const noexcept override { return inner_->can_bypass_cache(); }
  void attach(FileId id, const File& file) override { inner_->attach(id, file); }
  void register_buffers(std::span<const std::span<std::byte>> buffers) override;
  void unregister_buffers() override;
  void start(std::span<const Transfer> transfers) override;
  std::size_t collect(std::span<Outcome> outcomes, bool wait) override;

 private:
  Outcome release(std::size_t held);

  std::unique_ptr<IoCore> inner_;
  Faults faults_;
  RandomStream random_;
  std::vector<Outcome> held_;
  std::size_t inner_in_flight_ = 0;
};

}  // namespace gneiss::test
