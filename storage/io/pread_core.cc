#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <vector>

#include "storage/base/error.h"
#include "storage/io/cores.h"

namespace gneiss {
namespace {

// More threads than this cost more in switches than a deeper queue gives.
constexpr std::uint32_t threads_max = 128;

// A ring of a fixed size: the queue of a core never holds more than queue_depth.
template <class T>
class FixedQueue {
 public:
  explicit FixedQueue(std::size_t capacity) : items_(capacity) {}
  bool empty() const noexcept { return size_ == 0; }
  std::size_t size() const noexcept { return size_; }
  void push(const T& item) {
    GNEISS_ASSERT(size_ < items_.size());
    items_[(first_ + size_++) % items_.size()] = item;
  }
  T pop() {
    const T item = items_[first_];
    first_ = (first_ + 1) % items_.size();
    --size_;
    return item;
  }

 private:
  std::vector<T> items_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

class PreadCore final : public IoCore {
 public:
  explicit PreadCore(std::uint32_t queue_depth)
      : threads_limit_(std::min(queue_depth, threads_max)), waiting_(queue_depth), finished_(queue_depth) {
    threads_.reserve(threads_limit_);
  }

  std::string_view name() const noexcept override { return "pread"; }

  void attach(FileId id, const File& file) override {
    const std::scoped_lock lock(mutex_);
    GNEISS_ASSERT(static_cast<std::size_t>(id) == descriptors_.size());
    descriptors_.push_back(file.descriptor());
  }

  void start(std::span<const Transfer> transfers) override {
    std::size_t wanted = 0;
    {
      const std::scoped_lock lock(mutex_);
      for (const Transfer& transfer : transfers) waiting_.push(transfer);
      wanted = waiting_.size() > idle_ ? waiting_.size() - idle_ : 0;
    }
    for (std::size_t i = 0; i < transfers.size(); ++i) work_.notify_one();
    for (; wanted > 0 && threads_.size() < threads_limit_; --wanted) {
      if (!add_thread()) return;
    }
  }

  std::size_t collect(std::span<Outcome> outcomes, Patience patience) override {
    std::unique_lock lock(mutex_);
    const auto has_some = [this] { return !finished_.empty(); };
    if (patience == without_end) {
      done_.wait(lock, has_some);
    } else if (patience > no_wait) {
      done_.wait_for(lock, patience, has_some);
    }
    const std::size_t count = std::min(outcomes.size(), finished_.size());
    for (Outcome& outcome : outcomes.first(count)) outcome = finished_.pop();
    return count;
  }

 private:
  // False where the system refuses another thread: those that run go on more slowly.
  bool add_thread() {
    try {
      threads_.emplace_back([this](std::stop_token stop) { run(stop); });
      return true;
    } catch (const std::system_error& error) {
      if (threads_.empty()) fail(Kind::io, "no thread can be started for reading: {}", error.what());
      return false;
    }
  }

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      const bool has_work = work_.wait(lock, stop, [this] { return !waiting_.empty(); });
      --idle_;
      if (!has_work) return;
      const Transfer transfer = waiting_.pop();
      const int descriptor = descriptors_[static_cast<std::size_t>(transfer.file)];
      lock.unlock();
      const ssize_t got = ::pread(descriptor, transfer.target.data(), transfer.target.size(),
                                  static_cast<off_t>(transfer.offset));
      const Outcome outcome{.slot = transfer.slot, .result = got < 0 ? -errno : got};
      lock.lock();
      finished_.push(outcome);
      done_.notify_one();
      if (stop.stop_requested()) return;
    }
  }

  const std::uint32_t threads_limit_;
  std::mutex mutex_;  // guards all below but threads_
  std::condition_variable_any work_;
  std::condition_variable done_;
  std::vector<int> descriptors_;  // by FileId
  FixedQueue<Transfer> waiting_;
  FixedQueue<Outcome> finished_;
  std::size_t idle_ = 0;
  std::vector<std::jthread> threads_;  // last: end their pread() before what they use is destroyed
};

}  // namespace

std::unique_ptr<IoCore> make_pread_core(std::uint32_t queue_depth) {
  return std::make_unique<PreadCore>(queue_depth);
}

}  // namespace gneiss
