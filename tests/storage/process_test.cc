// What a process is told from outside, and how it ends: limits of memory, signals, invariants that broke.
#include "storage/base/process.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "storage/base/cancel.h"
#include "storage/base/error.h"
#include "storage/base/memory_limit.h"
#include "storage/io/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_command.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  write_text_file(path, text);
}

// What the process came to that ran only this test case.
CommandResult run_child(const std::string& test_case) {
  return run_command({fs::read_symlink("/proc/self/exe"), "--no-skip", "--test-case=child: " + test_case});
}

bool is_stop_requested_soon() {
  for (int i = 0; i < 1000 && !interrupt_token().stop_requested(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return interrupt_token().stop_requested();
}

constexpr std::uint64_t mib = 1U << 20;

}  // namespace

TEST_CASE("of a control group's limit, those above it and the machine's memory, the lowest binds") {
  const TemporaryFolder folder;
  const std::string root = folder.path();
  const fs::path groups = folder / "sys/fs/cgroup";
  put(folder / "proc/meminfo", "MemFree:  100 kB\nMemTotal:    8388608 kB\n");
  CHECK(control_group_limit(root) == 8192 * mib);  // no groups at all

  put(folder / "proc/self/cgroup", "0::/user/job\n");
  put(groups / "user/job/memory.max", "max\n");
  CHECK(control_group_limit(root) == 8192 * mib);
  put(groups / "user/memory.max", "1073741824\n");
  CHECK(control_group_limit(root) == 1024 * mib);
  put(groups / "user/job/memory.max", "536870912\n");
  CHECK(control_group_limit(root) == 512 * mib);

  // A container sees its own group as the root, whatever the group is called outside.
  put(folder / "proc/self/cgroup", "0::/\n");
  put(groups / "memory.max", "268435456\n");
  CHECK(control_group_limit(root) == 256 * mib);
  fs::remove_all(groups);

  // Version 1, also beside a version 2 that has no controllers; it says "no limit" by a number near 2^63.
  put(folder / "proc/self/cgroup", "12:cpu,cpuacct:/a\n4:memory:/a/b\nnonsense\n0::/c\n");
  put(groups / "memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(control_group_limit(root) == 8192 * mib);
  put(groups / "memory/a/memory.limit_in_bytes", "134217728\n");
  CHECK(control_group_limit(root) == 128 * mib);
  put(groups / "unified/c/memory.max", "67108864\n");
  CHECK(control_group_limit(root) == 64 * mib);
}

TEST_CASE("the first signal asks for the end of long work, a second one ends the process at once") {
  const CommandResult once = run_child("interrupted once");
  CHECK_MESSAGE(once.exit_code == 0, once.output);
  const CommandResult twice = run_child("interrupted twice");
  CHECK_MESSAGE(twice.exit_code == 130, twice.output);
}

TEST_CASE("a signal that was ignored when the process began stays ignored, and the others do not") {
  const CommandResult result = run_child("signals that are ignored");
  CHECK_MESSAGE(result.exit_code == 0, result.output);
}

TEST_CASE("child: interrupted once" * doctest::skip()) {
  install_signal_handlers();
  install_signal_handlers();
  CHECK_NOTHROW(throw_if_interrupted());
  ::kill(::getpid(), SIGTERM);
  REQUIRE(is_stop_requested_soon());
  EXPECT_ERROR(throw_if_interrupted(), Kind::cancelled, "run the same command again");
}

TEST_CASE("child: interrupted twice" * doctest::skip()) {
  install_signal_handlers();
  ::kill(::getpid(), SIGINT);
  REQUIRE(is_stop_requested_soon());
  ::kill(::getpid(), SIGINT);
  std::this_thread::sleep_for(std::chrono::seconds(20));
}

// nohup ignores SIGHUP, a script's background jobs ignore SIGINT.
TEST_CASE("child: signals that are ignored" * doctest::skip()) {
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  install_signal_handlers();
  ::kill(::getpid(), SIGHUP);
  ::kill(::getpid(), SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_FALSE(interrupt_token().stop_requested());
  ::kill(::getpid(), SIGTERM);
  REQUIRE(is_stop_requested_soon());
}

TEST_CASE("closed standard streams lead nowhere, not into the next file") {
  const CommandResult result = run_child("standard streams that are closed");
  CHECK_MESSAGE(result.exit_code == 0, result.output);
}

TEST_CASE("child: standard streams that are closed" * doctest::skip()) {
  const int errors = ::dup(STDERR_FILENO);  // for what a failing check has to say
  ::close(STDIN_FILENO);
  ::close(STDERR_FILENO);
  settle_process();
  const TemporaryFolder folder;
  const File file = File::create(folder / "file");
  CHECK(file.descriptor() > STDERR_FILENO);
  CHECK(::write(STDERR_FILENO, "lost", 4) == 4);
  CHECK(file.size() == 0);
  ::dup2(errors, STDERR_FILENO);
}

TEST_CASE("an invariant that broke stops the program, and says which and where") {
  const CommandResult result = run_child("a broken invariant");
  CHECK(result.exit_code == 128 + SIGABRT);
  CHECK_MESSAGE(result.output.find("internal error: rows == 2 does not hold at ") != std::string::npos,
                result.output);
  CHECK(result.output.find("process_test.cc:") != std::string::npos);
}

TEST_CASE("child: a broken invariant" * doctest::skip()) {
  const int rows = 3;
  GNEISS_ASSERT(rows == 2);
}

TEST_CASE("each kind of failure has its exit code") {
  CHECK(exit_code(Kind::config) == 2);
  CHECK(exit_code(Kind::input) == 3);
  CHECK(exit_code(Kind::corruption) == 4);
  CHECK(exit_code(Kind::io) == 5);
  CHECK(exit_code(Kind::cancelled) == 130);
}

}  // namespace gneiss::test
