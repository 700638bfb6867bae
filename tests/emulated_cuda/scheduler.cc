#include "tests/emulated_cuda/scheduler.h"

#include <algorithm>
#include <chrono>

#include "tests/emulated_cuda/die.h"
#include "tests/emulated_cuda/emulator.h"

namespace gneiss::emulated_cuda {
namespace {

bool may_run(const StreamState& stream) {
  return !stream.is_busy && !stream.operations.empty() &&
         std::ranges::all_of(stream.operations.front().waits, &Point::is_reached);
}

}  // namespace

bool Point::is_reached() const { return stream == nullptr || stream->completed >= number; }

Scheduler::Scheduler() { drop_all(); }

void Scheduler::set_seed(std::uint64_t seed) {
  random_.seed(static_cast<std::uint32_t>(seed * 0x9e3779b97f4a7c15u >> 33) + 1);
  random_.discard(8);
  // Half of the seeds are as late as they can be.
  const std::uint64_t draw = seed % 4;
  eagerness_ = draw < 2 ? Eagerness::never : draw == 2 ? Eagerness::sometimes : Eagerness::often;
}

void Scheduler::drop_all() {
  // Operations hold streams, and streams operations.
  for (const auto& stream : streams_) stream->operations.clear();
  streams_.clear();
  streams_.push_back(std::make_shared<StreamState>());
  schedule_ = Schedule::adversarial;
  clock_ = 0;
  set_seed(0);
}

std::shared_ptr<StreamState> Scheduler::create_stream(bool waits_for_null_stream) {
  forget_idle_streams();
  streams_.push_back(std::make_shared<StreamState>());
  streams_.back()->waits_for_null_stream = waits_for_null_stream;
  return streams_.back();
}

// A stream that was destroyed stays until its work is done.
void Scheduler::forget_idle_streams() {
  std::erase_if(streams_, [this](const std::shared_ptr<StreamState>& stream) {
    return stream != streams_.front() && stream.use_count() == 1 && stream->operations.empty() &&
           !stream->is_busy;
  });
}

Point Scheduler::enqueue(const std::shared_ptr<StreamState>& stream, Operation operation,
                         std::unique_lock<std::mutex>& lock) {
  // The null stream waits for all that was queued, but by those who do not want it, and these for the null
  // stream.
  if (stream == null_stream()) {
    for (const auto& other : streams_) {
      if (other != stream && other->waits_for_null_stream && other->completed < other->queued) {
        operation.waits.push_back({other, other->queued});
      }
    }
  } else if (stream->waits_for_null_stream) {
    operation.waits.push_back({null_stream(), null_stream()->queued});
  }
  stream->operations.push_back(std::move(operation));
  const Point point{stream, ++stream->queued};
  if (schedule_ == Schedule::eager) {
    // A host function of another may hold things up.
    while (run_any(lock)) {
    }
  } else if (schedule_ == Schedule::adversarial && eagerness_ != Eagerness::never) {
    if (eagerness_ == Eagerness::often ? flip() : random_() % 8 == 0) run_any(lock);
  }
  return point;
}

std::vector<std::shared_ptr<StreamState>> Scheduler::runnable() const {
  std::vector<std::shared_ptr<StreamState>> found;
  for (const auto& stream : streams_) {
    if (may_run(*stream)) found.push_back(stream);
  }
  return found;
}

// The stream whose next operation `point` waits for.
std::shared_ptr<StreamState> Scheduler::needed_for(const Point& point) const {
  std::shared_ptr<StreamState> stream = point.stream;
  while (!stream->is_busy) {
    const auto& waits = stream->operations.front().waits;
    const auto missing = std::ranges::find_if_not(waits, &Point::is_reached);
    if (missing == waits.end()) break;
    stream = missing->stream;
  }
  return stream;
}

void Scheduler::run_one(const std::shared_ptr<StreamState>& stream, std::unique_lock<std::mutex>& lock) {
  Operation operation = std::move(stream->operations.front());
  stream->operations.pop_front();
  if (operation.is_host_function) {
    emulator().device.close();
    stream->is_busy = true;
    lock.unlock();
    operation.run();
    lock.lock();
    stream->is_busy = false;
    host_function_ended_.notify_all();
  } else {
    emulator().device.open();
    operation.run();
  }
  clock_ += operation.microseconds;
  ++stream->completed;
}

bool Scheduler::run_any(std::unique_lock<std::mutex>& lock) {
  const auto candidates = runnable();
  if (candidates.empty()) return false;
  run_one(candidates[random_() / 7 % candidates.size()], lock);
  return true;
}

void Scheduler::wait(const Point& point, std::unique_lock<std::mutex>& lock) {
  // Each wait has its temper: none but the needed, others first, or as it comes.
  enum class Temper : std::uint8_t { needed, others_first, random };
  Temper temper = Temper::needed;
  if (schedule_ == Schedule::adversarial) temper = static_cast<Temper>(random_() / 5 % 3);
  while (!point.is_reached()) {
    const auto candidates = runnable();
    if (candidates.empty()) {
      // Another host thread runs a host function for which all wait.
      emulator().device.close();
      if (host_function_ended_.wait_for(lock, std::chrono::seconds(20)) == std::cv_status::timeout) {
        die("a wait of 20 s for a host function (cudaLaunchHostFunc) that does not return");
      }
      continue;
    }
    std::shared_ptr<StreamState> next = candidates[random_() / 7 % candidates.size()];
    if (temper == Temper::needed) {
      if (const auto needed = needed_for(point); !needed->is_busy) next = needed;
    } else if (temper == Temper::others_first && next == point.stream && candidates.size() > 1) {
      next = candidates.front() == next ? candidates.back() : candidates.front();
    }
    run_one(next, lock);
  }
}

void Scheduler::wait_all(std::unique_lock<std::mutex>& lock) {
  // Streams may be created while a host function runs: by index, and each until what it has now.
  const auto streams = streams_;
  for (const auto& stream : streams) wait({stream, stream->queued}, lock);
}

void Scheduler::run_by_chance(std::unique_lock<std::mutex>& lock) {
  // A loop that asks until it is done must end, even with the latest of devices.
  const bool runs =
      schedule_ == Schedule::late ? random_() / 7 % 4 == 0 : schedule_ == Schedule::eager || flip();
  if (runs) run_any(lock);
}

std::size_t Scheduler::pending() const {
  std::size_t count = 0;
  for (const auto& stream : streams_) count += stream->operations.size();
  return count;
}

}  // namespace gneiss::emulated_cuda
