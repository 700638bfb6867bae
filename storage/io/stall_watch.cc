#include "storage/io/stall_watch.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <system_error>

#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {

// Who is waiting now, the latest first.
class WaitList {
 public:
  bool is_watched() const noexcept { return is_watched_.load(std::memory_order_relaxed); }
  void set_watched(bool is_watched) {
    const bool was_watched = is_watched_.exchange(is_watched);
    GNEISS_ASSERT(was_watched != is_watched);
  }

  void add(DriveWait& wait) {
    const std::scoped_lock lock(mutex_);
    wait.is_listed_ = true;
    wait.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &wait;
    first_ = &wait;
  }

  void remove(DriveWait& wait) {
    const std::scoped_lock lock(mutex_);
    (wait.previous_ != nullptr ? wait.previous_->next_ : first_) = wait.next_;
    if (wait.next_ != nullptr) wait.next_->previous_ = wait.previous_;
  }

  // What has been there for `looks_max` looks, this one included, in words; empty: nothing.
  std::string look(int looks_max) {
    const std::scoped_lock lock(mutex_);
    const DriveWait* oldest = nullptr;
    for (DriveWait* at = first_; at != nullptr; at = at->next_) {
      if (++at->looks_ >= looks_max) oldest = at;
    }
    if (oldest == nullptr) return {};
    if (oldest->bytes_ == 0) return fmt::format("{} {}", oldest->attempt_, oldest->path_);
    return fmt::format("{} {} bytes at offset {} of {}", oldest->attempt_, oldest->bytes_, oldest->offset_,
                       oldest->path_);
  }

 private:
  std::atomic<bool> is_watched_ = false;
  std::mutex mutex_;
  DriveWait* first_ = nullptr;
};

namespace {

constinit WaitList waits;

constexpr int looks_a_notice = 10;

void look_around(const std::stop_token& stop, double notice_seconds) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  const std::chrono::duration<double> pause(notice_seconds / looks_a_notice);
  for (bool has_told = false; !has_told && !stop.stop_requested();) {
    wake.wait_for(lock, stop, pause, [] { return false; });
    if (stop.stop_requested()) return;
    const std::string attempt = waits.look(looks_a_notice + 1);  // the first look may have come at once
    has_told = !attempt.empty();
    if (has_told) {
      spdlog::warn("still waiting for the drive after {}: {}", format_seconds(notice_seconds), attempt);
    }
  }
}

}  // namespace

StallWatch::StallWatch(double notice_seconds) {
  waits.set_watched(true);
  try {
    looker_ =
        std::jthread([notice_seconds](const std::stop_token& stop) { look_around(stop, notice_seconds); });
  } catch (const std::system_error& error) {
    spdlog::debug("no thread to watch for a stalling drive: {}", error.what());
  }
}

StallWatch::~StallWatch() { waits.set_watched(false); }

DriveWait::DriveWait(std::string_view attempt, const std::string& path, std::uint64_t offset,
                     std::uint64_t bytes)
    : attempt_(attempt), path_(path), offset_(offset), bytes_(bytes) {
  if (waits.is_watched()) waits.add(*this);
}

DriveWait::~DriveWait() {
  if (is_listed_) waits.remove(*this);
}

}  // namespace gneiss
