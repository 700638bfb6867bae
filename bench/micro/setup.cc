#include "bench/micro/setup.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "engine/compute/cpu/cpu_backend.h"
#include "storage/base/random.h"

namespace gneiss::micro {

ThreadPool& pool() {
  static ThreadPool instance([] {
    const char* text = std::getenv("GNEISS_BENCH_THREADS");
    return text == nullptr ? available_cores() : static_cast<std::size_t>(std::max(1, std::atoi(text)));
  }());
  return instance;
}

Backend& backend() {
  static const std::unique_ptr<Backend> instance = make_cpu_backend(pool());
  return *instance;
}

double Timer::now() {
  static const char* const clock = std::getenv("GNEISS_BENCH_CLOCK");
  static const bool is_cpu = clock != nullptr && std::strcmp(clock, "cpu") == 0;
  timespec time{};
  clock_gettime(is_cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  const double seconds = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  return is_cpu ? seconds / static_cast<double>(pool().thread_count()) : seconds;
}

double best_seconds(int runs, const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const Timer watch;
    work();
    best = std::min(best, watch.seconds());
  }
  return best;
}

std::vector<float> random_values(std::size_t count) {
  std::vector<float> values(count);
  RandomStream draws(mix_key(count));
  for (float& value : values) value = static_cast<float>(draws.uniform() - 0.5);
  return values;
}

}  // namespace gneiss::micro
