// Fills slots on a thread of its own while another is used.
//
// Why:     taking bytes from a stream, checking and placing them is one thread's work: beside it the threads
//          that compute would wait, and so would the drive.
// Threads: one calls; another fills. What fills is made and destroyed on that one, as readers want it. next()
//          waits for as long as filling takes; what stops early waits for the slot that is being filled.
// Memory:  the slots, two or more, which the owner gives: with more than two, filling and use wait less for
//          each other's slow moments.
// Errors:  what filling throws, next() throws, after the slots that were filled before.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <utility>

namespace gneiss {

template <class Slot>
class FilledAhead {
 public:
  using Fill = std::function<bool(Slot&)>;  // false: there is no more, the slot holds anything

  //   slots  borrowed
  //   begin  makes what fills them
  FilledAhead(std::span<Slot> slots, std::function<Fill()> begin)
      : slots_(slots), thread_([this, begin = std::move(begin)](const std::stop_token& stop) {
          try {
            fill_all(begin(), stop);
          } catch (...) {
            end(std::current_exception());
          }
        }) {}

  // The next filled slot, the caller's until the next call; nullptr at the end.
  Slot* next() {
    std::unique_lock lock(mutex_);
    if (is_in_use_) ++released_;
    is_in_use_ = false;
    changed_.notify_all();
    changed_.wait(lock, [&] { return filled_ > released_ || is_ended_; });
    if (filled_ > released_) {
      is_in_use_ = true;
      return &slots_[released_ % slots_.size()];
    }
    if (failure_) std::rethrow_exception(failure_);
    return nullptr;
  }

 private:
  void fill_all(const Fill& fill, const std::stop_token& stop) {
    for (;;) {
      std::uint64_t slot = 0;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [&] { return filled_ - released_ < slots_.size(); });
        if (stop.stop_requested()) return;
        slot = filled_;
      }
      if (!fill(slots_[slot % slots_.size()])) return end({});
      const std::scoped_lock lock(mutex_);
      ++filled_;
      changed_.notify_all();
    }
  }
  void end(std::exception_ptr failure) {
    const std::scoped_lock lock(mutex_);
    failure_ = std::move(failure);
    is_ended_ = true;
    changed_.notify_all();
  }

  const std::span<Slot> slots_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  std::uint64_t filled_ = 0;
  std::uint64_t released_ = 0;
  bool is_in_use_ = false;  // the slot after the released ones
  bool is_ended_ = false;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: stops and joins before what it uses is destroyed
};

}  // namespace gneiss
