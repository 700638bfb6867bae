// What all micro-benchmarks share: threads, a backend, the clock, values.
//
//   GNEISS_BENCH_THREADS=N                   threads; by default every core there is
//   GNEISS_BENCH_CLOCK=cpu                   processor time instead of wall time, for a machine that is
//   shared
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "engine/compute/backend.h"
#include "storage/base/parallel.h"

namespace gneiss::micro {

ThreadPool& pool();
Backend& backend();  // f32

// Wall time; with GNEISS_BENCH_CLOCK=cpu the processor time of all threads, shared evenly among them, which
// other programs on the same cores do not lengthen as much.
class Timer {
 public:
  double restart() {
    const double last = start_;
    start_ = now();
    return start_ - last;
  }
  double seconds() const { return now() - start_; }

 private:
  static double now();
  double start_ = now();
};

// The shortest of several runs: other programs only ever make it longer.
double best_seconds(int runs, const std::function<void()>& work);

std::vector<float> random_values(std::size_t count);

}  // namespace gneiss::micro
