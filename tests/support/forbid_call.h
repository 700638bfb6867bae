// forbid_call(): a system call that fails from here on, as a container's filter makes it.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <array>
#include <cstddef>

namespace gneiss::test {

enum class Forbid {
  always,
  with_second_argument,  // where that is not 0: io_uring_enter() then still waits, and submits nothing
};

// In this thread and those that it starts, for good: for a child process. False where there are no filters.
inline bool forbid_call(int number, int error, Forbid when = Forbid::always) {
  const auto refusal = SECCOMP_RET_ERRNO | static_cast<unsigned>(error);
  const unsigned least = when == Forbid::always ? 0 : 1;  // of the second argument's lower half
  std::array<sock_filter, 6> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, least, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, refusal),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace gneiss::test
