// Where a stage's time goes: busy, starved (no input) or blocked (no room for output).
//
// Why:     the shares of all stages say what bounds a run: the drive, the assembly or the computation.
// Threads: one stage enters states; any thread takes a snapshot.
#pragma once

#include <array>
#include <chrono>
#include <mutex>

namespace gneiss {

struct StageTimes {
  double busy_seconds = 0;
  double starved_seconds = 0;
  double blocked_seconds = 0;

  StageTimes operator-(const StageTimes& earlier) const noexcept {
    return {busy_seconds - earlier.busy_seconds, starved_seconds - earlier.starved_seconds,
            blocked_seconds - earlier.blocked_seconds};
  }
};

class StageClock {
 public:
  enum class State { busy, starved, blocked, idle };

  void enter(State state) {
    const std::scoped_lock lock(mutex_);
    charge();
    state_ = state;
  }
  StageTimes snapshot() {
    const std::scoped_lock lock(mutex_);
    charge();
    return {seconds_[0], seconds_[1], seconds_[2]};
  }

 private:
  using Clock = std::chrono::steady_clock;
  void charge() {
    const auto now = Clock::now();
    seconds_[static_cast<std::size_t>(state_)] += std::chrono::duration<double>(now - since_).count();
    since_ = now;
  }

  std::mutex mutex_;  // guards all below
  State state_ = State::idle;
  Clock::time_point since_ = Clock::now();
  std::array<double, 4> seconds_{};
};

}  // namespace gneiss
