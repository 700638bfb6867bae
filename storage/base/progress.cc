#include "storage/base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "storage/base/units.h"

namespace gneiss {
namespace {

std::atomic<bool> quiet_everywhere{false};

bool on_terminal() {
  static const bool terminal = isatty(STDERR_FILENO) == 1;
  return terminal;
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

constexpr double first_show_seconds = 0.5;
constexpr double terminal_interval_seconds = 0.1;
constexpr double line_interval_seconds = 10;

}  // namespace

Progress::Progress(std::string label, std::uint64_t total, Unit unit)
    : label_(std::move(label)),
      total_(total),
      unit_(unit),
      next_show_(on_terminal() ? first_show_seconds : line_interval_seconds) {}

Progress::~Progress() { finish(); }

void Progress::set_quiet(bool quiet) { quiet_everywhere = quiet; }

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

void Progress::advance(std::uint64_t amount) {
  done_.fetch_add(amount, std::memory_order_relaxed);
  const double now = seconds();
  if (quiet_everywhere || now < next_show_.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock(show_mutex_, std::try_to_lock);
  if (!lock || finished_) return;
  next_show_ = now + (on_terminal() ? terminal_interval_seconds : line_interval_seconds);
  show(now, false);
}

void Progress::show(double now, bool last) {
  const std::uint64_t done = std::min(done_.load(), total_ == 0 ? done_.load() : total_);
  const double rate = now > 0 ? static_cast<double>(done) / now : 0;
  const auto amount = [this](double value) {
    return unit_ == Unit::bytes ? format_bytes(value) : format_count(static_cast<std::uint64_t>(value));
  };
  const std::string speed = unit_ == Unit::bytes ? format_rate(rate) : fmt::format("{}/s", amount(rate));
  std::string tail = fmt::format("{}, {}", amount(static_cast<double>(done)), speed);
  std::string head = label_;
  if (total_ > 0 && !last) {
    const double share = static_cast<double>(done) / static_cast<double>(total_);
    const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : 0;
    tail = fmt::format("{:3.0f} %  {}, {} left", share * 100, speed, format_seconds(left));
    const std::size_t columns = terminal_columns();
    const std::size_t used = head.size() + tail.size() + 6;
    if (on_terminal() && columns > used + 10) {
      const std::size_t width = std::min<std::size_t>(30, columns - used);
      const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
      head += " [" + std::string(filled, '#') + std::string(width - filled, ' ') + "]";
    }
  }
  std::string line = head + "  " + tail;
  if (on_terminal()) {
    line.resize(std::min(line.size(), terminal_columns() - 1));
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
  shown_ = true;
}

void Progress::finish() {
  const std::scoped_lock lock(show_mutex_);
  if (finished_) return;
  finished_ = true;
  if (!shown_ || quiet_everywhere) return;
  if (on_terminal()) {
    std::fprintf(stderr, "\r\033[K");
    std::fflush(stderr);
  } else {
    show(seconds(), true);
  }
}

}  // namespace gneiss
