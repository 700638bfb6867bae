// Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere.
//
// Threads: advance() may be called by many; all else by one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace gneiss {

class Progress {
 public:
  enum class Unit { items, bytes };

  // Shows nothing until 0.5 s have passed: short work stays silent. `total` 0 means unknown.
  Progress(std::string label, std::uint64_t total, Unit unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount);
  std::uint64_t done() const noexcept { return done_.load(std::memory_order_relaxed); }
  double seconds() const;
  // Clears the bar, or prints the last plain line. Called by the destructor.
  void finish();

  static void set_quiet(bool quiet);  // --quiet: no progress at all

 private:
  using Clock = std::chrono::steady_clock;
  void show(double now, bool last);

  const std::string label_;
  const std::uint64_t total_;
  const Unit unit_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<std::uint64_t> done_{0};
  std::atomic<double> next_show_;
  std::mutex show_mutex_;  // guards the terminal and shown_, finished_
  bool shown_ = false;
  bool finished_ = false;
};

}  // namespace gneiss
