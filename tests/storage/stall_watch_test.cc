// What a thread waits for on the drive is told, once; a short wait, or a stopped process, is not.
#include "storage/io/stall_watch.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/captured_log.h"

namespace gneiss::test {
namespace {

using std::chrono::milliseconds;

constexpr const char* notice = "still waiting for the drive after";
const std::string file = "/data/features.bin";

void wait_for(milliseconds time, std::uint64_t offset) {
  const DriveWait wait("reading", file, offset, 4096);
  std::this_thread::sleep_for(time);
}

}  // namespace

TEST_CASE("a wait of some length is told once, with what was done, where, and to which file") {
  const CapturedLog log;
  {
    const StallWatch watch(0.05);
    wait_for(milliseconds(300), 8192);
    wait_for(milliseconds(300), 12288);
  }
  CHECK_MESSAGE(log.count(notice) == 1, log.text());
  CHECK_MESSAGE(log.count("after 50 ms: reading 4096 bytes at offset 8192 of /data/features.bin") == 1,
                log.text());
}

TEST_CASE("of several waits that of the longest is told, and what concerns a whole file without an offset") {
  const CapturedLog log;
  {
    const StallWatch watch(0.1);
    std::vector<std::jthread> threads;
    threads.emplace_back([] {
      const DriveWait wait("making durable", file);
      std::this_thread::sleep_for(milliseconds(400));
    });
    for (std::uint64_t thread = 1; thread < 4; ++thread) {
      threads.emplace_back([thread] {
        std::this_thread::sleep_for(milliseconds(50));
        for (int i = 0; i < 40; ++i) wait_for(milliseconds(10), thread);
      });
    }
  }
  CHECK_MESSAGE(log.count(notice) == 1, log.text());
  CHECK_MESSAGE(log.count("making durable /data/features.bin\n") == 1, log.text());
}

TEST_CASE("many short waits are not told, nor any where nobody watches") {
  const CapturedLog log;
  {
    const StallWatch watch(1);
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (std::uint64_t thread = 0; thread < 4; ++thread) {
      threads.emplace_back([thread] {
        for (int i = 0; i < 100; ++i) wait_for(milliseconds(i % 5), thread);
      });
    }
  }
  wait_for(milliseconds(20), 0);
  CHECK_MESSAGE(log.count(notice) == 0, log.text());
}

TEST_CASE("a wait may begin before the watch and end after it") {
  const CapturedLog log;
  {
    const DriveWait unseen("reading", file, 1, 1);
    auto watch = std::make_unique<StallWatch>(0.05);
    const DriveWait seen("writing", file, 2, 1);
    std::this_thread::sleep_for(milliseconds(300));
    watch.reset();
  }
  CHECK_MESSAGE(log.count("writing 1 bytes at offset 2") == 1, log.text());
}

TEST_CASE("a process that was stopped has no stalling drive") {
  // Exit code 1: it was told.
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const CapturedLog log;
    {
      const StallWatch watch(1);
      wait_for(milliseconds(400), 0);
    }
    ::_exit(static_cast<int>(log.count(notice)));
  }
  std::this_thread::sleep_for(milliseconds(150));
  ::kill(child, SIGSTOP);
  std::this_thread::sleep_for(milliseconds(1300));
  ::kill(child, SIGCONT);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace gneiss::test
