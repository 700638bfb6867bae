// What a user sees of long work: on terminals of two widths, in a log, and nothing with --quiet.
#include "storage/base/progress.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "tests/support/skip.h"

namespace gneiss {
namespace {

// Standard error is a terminal for as long as this lives.
class Terminal {
 public:
  Terminal() {
    int shown = -1;
    if (::openpty(&master_, &shown, nullptr, nullptr, nullptr) != 0) return;
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
    ::dup2(shown, STDERR_FILENO);
    ::close(shown);
  }
  ~Terminal() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    if (master_ >= 0) ::close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  explicit operator bool() const { return master_ >= 0; }
  void resize(unsigned short columns) const {
    const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(::ioctl(master_, TIOCSWINSZ, &size) == 0);
  }
  // What was shown since the last call.
  std::string take() const {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t count = 0; (count = ::read(master_, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(count));
    }
    return text;
  }

 private:
  int before_ = ::dup(STDERR_FILENO);
  int master_ = -1;
};

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void wait_until_shown() { std::this_thread::sleep_for(std::chrono::milliseconds(600)); }

const std::string cleared = "\r\033[K";

}  // namespace

// The first of this program to ask whether there is a terminal: the answer is kept.
TEST_CASE(
    "work longer than half a second has a bar with its share, rate and time left, within the terminal") {
  const Terminal terminal;
  if (!terminal) SKIP_TEST("no terminal can be made here");
  {
    terminal.resize(100);
    Progress wide("packing", 1000, Progress::Unit::items);
    wide.advance(100);
    CHECK(terminal.take().empty());  // short work stays silent
    wait_until_shown();
    wide.advance(400);
    const std::string shown = terminal.take();
    CHECK(contains(shown, "packing [###############               ]"));
    CHECK(contains(shown, " 50 %"));
    CHECK(contains(shown, "/s, "));
    CHECK(contains(shown, " left"));
    CHECK(wide.done() == 500);
    wide.finish();
    CHECK(terminal.take() == cleared);
    wide.advance(500);
    CHECK(terminal.take().empty());
  }
  {
    terminal.resize(40);
    Progress narrow("ordering shared rows", std::uint64_t{1} << 30, Progress::Unit::bytes);
    wait_until_shown();
    narrow.advance(std::uint64_t{1} << 28);
    const std::string shown = terminal.take();
    CHECK(contains(shown, "ordering shared rows"));
    CHECK(!contains(shown, "[#"));
    CHECK(shown.size() - cleared.size() < 40);
  }
  CHECK(terminal.take() == cleared);
  {
    Progress unknown("reading edges", 0, Progress::Unit::items);
    wait_until_shown();
    unknown.advance(12'345);
    CHECK(contains(terminal.take(), "12,345"));
  }
  terminal.take();
  Progress::set_quiet(true);
  {
    Progress silent("packing", 10, Progress::Unit::items);
    wait_until_shown();
    silent.advance(5);
  }
  Progress::set_quiet(false);
  CHECK(terminal.take().empty());
}

}  // namespace gneiss
