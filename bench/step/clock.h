// The clock of steps: wall time or, on a machine that others use too, the processor's.
#pragma once

#include <time.h>

#include <cstddef>

namespace gneiss::step {

class Clock {
 public:
  Clock() = default;  // wall time
  // Processor time of all threads, shared evenly among them.
  static Clock processor(std::size_t threads) {
    Clock clock;
    clock.id_ = CLOCK_PROCESS_CPUTIME_ID;
    clock.threads_ = static_cast<double>(threads);
    return clock;
  }
  double now() const {
    timespec time{};
    clock_gettime(id_, &time);
    return (static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec)) / threads_;
  }

 private:
  clockid_t id_ = CLOCK_MONOTONIC;
  double threads_ = 1;
};

}  // namespace gneiss::step
