// The queues of the streams, and which operation runs next.
//
// Why:     CUDA promises the order within a stream, what events and the null stream add, and nothing else.
// The
//          scheduler keeps these promises and draws the rest from a seed.
// How:     operations are numbered within their stream; to wait for an event is to wait for a number of a
//          stream. An operation waits only for earlier calls, so the oldest one that is queued can always
//          run, and no wait is without end.
// Threads: under the emulator's lock, which a host function's run gives up.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "tests/emulated_cuda/emulated_cuda.h"

namespace gneiss::emulated_cuda {

struct StreamState;

// The operation `number` of `stream`, and with it all before.
struct Point {
  std::shared_ptr<StreamState> stream;
  std::uint64_t number = 0;
  bool is_reached() const;
};

struct Operation {
  std::function<void()> run;
  std::vector<Point> waits;
  double microseconds = 1;  // of the virtual clock
  bool is_host_function = false;
};

struct StreamState {
  bool waits_for_null_stream = true;
  bool is_busy = false;         // a host function of it runs, without the lock
  std::uint64_t queued = 0;     // the number of the last operation that was queued
  std::uint64_t completed = 0;  // and of the last that has run
  std::deque<Operation> operations;
};

class Scheduler {
 public:
  Scheduler();

  void set_seed(std::uint64_t seed);
  void set_schedule(Schedule schedule) { schedule_ = schedule; }
  // True for half of the calls.
  bool flip() { return (random_() >> 16 & 1u) != 0; }

  const std::shared_ptr<StreamState>& null_stream() const { return streams_.front(); }
  std::shared_ptr<StreamState> create_stream(bool waits_for_null_stream);

  Point enqueue(const std::shared_ptr<StreamState>& stream, Operation operation,
                std::unique_lock<std::mutex>& lock);
  // Runs operations until `point` is reached.
  void wait(const Point& point, std::unique_lock<std::mutex>& lock);
  void wait_all(std::unique_lock<std::mutex>& lock);
  // A device goes on while the host asks: may run some.
  void run_by_chance(std::unique_lock<std::mutex>& lock);

  std::size_t pending() const;
  double clock_microseconds() const { return clock_; }
  void drop_all();

 private:
  enum class Eagerness : std::uint8_t { never, sometimes, often };

  std::shared_ptr<StreamState> needed_for(const Point& point) const;
  std::vector<std::shared_ptr<StreamState>> runnable() const;
  void run_one(const std::shared_ptr<StreamState>& stream, std::unique_lock<std::mutex>& lock);
  bool run_any(std::unique_lock<std::mutex>& lock);
  void forget_idle_streams();

  std::vector<std::shared_ptr<StreamState>> streams_;  // the null stream first
  Schedule schedule_ = Schedule::adversarial;
  Eagerness eagerness_ = Eagerness::never;
  std::minstd_rand random_;
  double clock_ = 0;
  std::condition_variable host_function_ended_;
};

}  // namespace gneiss::emulated_cuda
