#include "storage/io/write_behind.h"

#include <algorithm>
#include <utility>

namespace gneiss {

WriteBehind::WriteBehind(const File& file, std::size_t piece_bytes, std::size_t depth)
    : file_(file), depth_(depth) {
  for (std::size_t i = 0; i < depth; ++i) empty_.emplace_back(piece_bytes);
  for (std::size_t i = 0; i < depth; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
  }
}

WriteBehind::~WriteBehind() {
  const std::scoped_lock lock(mutex_);
  tasks_.clear();
}

void WriteBehind::wait_for_room(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [&] { return on_their_way_ < depth_ || failure_; });
  if (failure_) std::rethrow_exception(failure_);
  ++on_their_way_;
}

void WriteBehind::write(std::uint64_t offset, AlignedBuffer& piece, std::size_t bytes) {
  std::unique_lock lock(mutex_);
  wait_for_room(lock);
  AlignedBuffer next = std::move(empty_.back());  // fewer than `depth` are in use
  empty_.pop_back();
  AlignedBuffer full = std::exchange(piece, std::move(next));
  const auto whole = std::span<const std::byte>(full.bytes()).first(bytes);
  tasks_.push_back({offset, std::move(full), whole});
  changed_.notify_all();
}

void WriteBehind::write_in_place(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::unique_lock lock(mutex_);
  wait_for_room(lock);
  tasks_.push_back({offset, {}, bytes});
  changed_.notify_all();
}

void WriteBehind::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return on_their_way_ == 0 || failure_; });
  if (failure_) std::rethrow_exception(failure_);
}

void WriteBehind::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return !tasks_.empty(); })) {
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      file_.write_at(task.offset, task.bytes);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    if (!task.piece.empty()) empty_.push_back(std::move(task.piece));
    --on_their_way_;
    changed_.notify_all();
  }
}

}  // namespace gneiss
