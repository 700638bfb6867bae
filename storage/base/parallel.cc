#include "storage/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <utility>

namespace gneiss {

std::size_t available_cores() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
  return std::max(1U, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(std::size_t thread_count) {
  if (thread_count == 0) thread_count = available_cores();
  for (std::size_t worker = 1; worker < thread_count; ++worker) {
    workers_.emplace_back([this, worker](std::stop_token stop) { run_worker(worker, std::move(stop)); });
  }
}

ThreadPool::~ThreadPool() {
  for (auto& worker : workers_) worker.request_stop();
}

void ThreadPool::parallel_for(std::size_t piece_count,
                              const std::function<void(std::size_t, std::size_t)>& work) {
  if (piece_count == 0) return;
  {
    const std::scoped_lock lock(mutex_);
    work_ = &work;
    piece_count_ = piece_count;
    failure_ = nullptr;
    next_piece_.store(0, std::memory_order_relaxed);
    active_ = piece_count > 1 ? workers_.size() + 1 : 1;
    ++generation_;
  }
  if (piece_count > 1) wake_.notify_all();
  work_on(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return active_ == 0; });
  work_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::run_worker(std::size_t worker, std::stop_token stop) {
  std::size_t seen = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const bool woken = wake_.wait(lock, stop, [&] { return generation_ != seen && piece_count_ > 1; });
      if (!woken) return;
      seen = generation_;
    }
    work_on(worker);
  }
}

void ThreadPool::work_on(std::size_t worker) {
  for (;;) {
    const std::size_t piece = next_piece_.fetch_add(1, std::memory_order_relaxed);
    if (piece >= piece_count_) break;
    try {
      (*work_)(piece, worker);
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!failure_ || piece < failed_piece_) {
        failure_ = std::current_exception();
        failed_piece_ = piece;
      }
    }
  }
  const std::scoped_lock lock(mutex_);
  if (--active_ == 0) done_.notify_all();
}

}  // namespace gneiss
