// Drains one slot on a thread of its own while the other is filled: FilledAhead, the other way round.
//
// Why:     cutting rows into runs of columns is one thread's work and may wait for the drive: beside it the
//          threads that compute would wait.
// Threads: one calls; another drains. next() waits for as long as draining takes; what stops before finish()
//          waits for the slot that is being drained and drops the other.
// Memory:  the two slots, which the owner gives.
// Errors:  what draining throws, the next next() or finish() throws; slots after it are not drained.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

namespace gneiss {

template <class Slot>
class DrainedBehind {
 public:
  using Drain = std::function<void(Slot&)>;

  //   slots  borrowed
  DrainedBehind(std::array<Slot, 2>& slots, Drain drain)
      : slots_(slots),
        drain_(std::move(drain)),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  // A slot to be filled, the caller's until give().
  Slot& next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_ - drained_ < 2 || failure_; });
    if (failure_) std::rethrow_exception(failure_);
    return slots_[given_ % 2];
  }
  // Hands on the slot of the last next().
  void give() {
    const std::scoped_lock lock(mutex_);
    ++given_;
    changed_.notify_all();
  }
  // Waits until all that was given is drained.
  void finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_ == drained_ || failure_; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [&] { return given_ > drained_; }) && !stop.stop_requested()) {
      Slot& slot = slots_[drained_ % 2];
      lock.unlock();
      std::exception_ptr failure;
      try {
        drain_(slot);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
      if (!failure_) ++drained_;
      changed_.notify_all();
      if (failure_) return;
    }
  }

  std::array<Slot, 2>& slots_;
  const Drain drain_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  std::uint64_t given_ = 0;
  std::uint64_t drained_ = 0;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: stops and joins before what it uses is destroyed
};

}  // namespace gneiss
