// Hands items from one stage to the next, at most `capacity` waiting: the backpressure of a pipeline.
//
// Threads: any number of producers and consumers; every wait takes the caller's stop_token.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace gneiss {

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // False when `stop` was requested or the queue closed before there was room; `item` is then dropped.
  bool push(T item, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool room = changed_.wait(lock, stop, [this] { return closed_ || items_.size() < capacity_; });
    if (!room || closed_) return false;
    items_.push_back(std::move(item));
    changed_.notify_all();
    return true;
  }

  // Empty when `stop` was requested, or when the queue is closed and drained.
  std::optional<T> pop(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const bool ready = changed_.wait(lock, stop, [this] { return closed_ || !items_.empty(); });
    if (!ready || items_.empty()) return std::nullopt;
    return take();
  }

  std::optional<T> try_pop() {
    const std::scoped_lock lock(mutex_);
    if (items_.empty()) return std::nullopt;
    return take();
  }

  // No item follows; what waits can still be popped.
  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  T take() {
    T item = std::move(items_.front());
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  const std::size_t capacity_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any changed_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace gneiss
