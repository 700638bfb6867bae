// A deadlock becomes a failure that says what was being done: the test's process ends with exit code 3.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace gneiss::test {

class Watchdog {
 public:
  // `what` is printed when the watchdog still lives after `limit`.
  Watchdog(std::string what, std::chrono::seconds limit)
      : thread_([what = std::move(what), limit](const std::stop_token& stop) {
          std::mutex mutex;
          std::condition_variable_any never;
          std::unique_lock lock(mutex);
          never.wait_for(lock, stop, limit, [] { return false; });
          if (stop.stop_requested()) return;
          std::fprintf(stderr, "no end after %lld s: %s\n", static_cast<long long>(limit.count()),
                       what.c_str());
          std::fflush(stderr);
          std::_Exit(3);
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace gneiss::test
