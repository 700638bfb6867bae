// run_in_child(work): what must not happen to the test's own process happens to a copy of it.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

namespace gneiss::test {

// Runs `work`, which returns an exit code, in a forked process whose output is dropped.
// Returns that code, 128 + signal when a signal ended it, 99 when an exception left `work`.
template <class Work>
int run_in_child(const Work& work) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    // The test runner's own handler would report an expected abort as a crash.
    std::signal(SIGABRT, SIG_DFL);
    if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(98);
    if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(98);
    int code = 99;
    try {
      code = work();
    } catch (const std::exception&) {
      code = 99;
    }
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace gneiss::test
