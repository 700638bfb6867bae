// A fixed set of threads that share loops over independent pieces.
//
// Why:     one pool, sized by --threads, keeps readers and trainers from fighting for cores.
// Threads: parallel_for may be called from one thread at a time; the caller works too.
// Order:   pieces are handed out in order but finish in any; results must depend on the piece alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace gneiss {

class ThreadPool {
 public:
  // `thread_count` counts the caller: 1 starts no thread. 0 means one per available core.
  explicit ThreadPool(std::size_t thread_count);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t thread_count() const noexcept { return workers_.size() + 1; }

  // Calls work(piece, worker) for each piece in [0, piece_count); worker < thread_count().
  // Returns when all are done; rethrows the exception of the lowest piece that failed.
  void parallel_for(std::size_t piece_count, const std::function<void(std::size_t, std::size_t)>& work);

 private:
  void run_worker(std::size_t worker, std::stop_token stop);
  void work_on(std::size_t worker);

  std::mutex mutex_;  // guards all below but next_piece_
  std::condition_variable_any wake_;
  std::condition_variable done_;
  const std::function<void(std::size_t, std::size_t)>* work_ = nullptr;
  std::size_t piece_count_ = 0;
  std::size_t generation_ = 0;
  std::size_t active_ = 0;
  std::size_t failed_piece_ = 0;
  std::exception_ptr failure_;
  std::atomic<std::size_t> next_piece_{0};
  std::vector<std::jthread> workers_;  // last: stops before what it uses is destroyed
};

std::size_t available_cores() noexcept;  // what the affinity mask and the control group leave us

}  // namespace gneiss
