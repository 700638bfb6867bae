// run_until_call(work, number): what a kill -9 at any moment leaves, one moment after another and each
// exactly.
//
// Why: files change by system calls alone. A copy of the process that is killed before its first, its
//      second, ... and its last call shows every state of them that a kill can leave.
#pragma once

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

namespace gneiss::test {

enum class ChildEnd : std::uint8_t {
  killed,      // before that call
  done,        // the work needs fewer calls
  failed,      // an exception left the work
  untraceable  // the system does not let a process trace its child
};

// Runs `work` in a forked process that is killed as it enters its system call `number`, from 0.
template <class Work>
ChildEnd run_until_call(const Work& work, std::uint64_t number) {
  constexpr int failed_code = 99;
  constexpr int untraceable_code = 98;
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(untraceable_code);
    ::raise(SIGSTOP);
    try {
      work();
    } catch (...) {
      ::_exit(failed_code);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  // Each call stops the child twice, as it enters and as it leaves; the first of all stops is its own.
  for (std::uint64_t stop = 0; WIFSTOPPED(status); ++stop) {
    if (stop == 2 * number + 1 || ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) != 0) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return ChildEnd::killed;
    }
    ::waitpid(child, &status, 0);
  }
  if (!WIFEXITED(status)) return ChildEnd::failed;
  if (WEXITSTATUS(status) == untraceable_code) return ChildEnd::untraceable;
  return WEXITSTATUS(status) == 0 ? ChildEnd::done : ChildEnd::failed;
}

}  // namespace gneiss::test
