#include "storage/io/mapped_copy.h"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace gneiss {
namespace {

constexpr std::size_t smallest_page = 4096;

// The copy that this thread is in.
struct Copy {
  const std::byte* first_page = nullptr;  // memory that fails is told of by its page
  const std::byte* end = nullptr;
  sigjmp_buf way_out{};
};
thread_local Copy* volatile current = nullptr;

struct sigaction before{};  // what SIGBUS did

// What another owner of the signal would have got.
void pass_on(int signal, siginfo_t* info, void* context) {
  const bool is_sent = info->si_code <= 0;  // by a process, and by no page
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler == SIG_IGN && is_sent) return;
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  // The process ends: what touched the page does so again, and a signal that was sent is sent again.
  std::signal(SIGBUS, SIG_DFL);
  if (is_sent) std::raise(SIGBUS);
}

void leave_copy(int signal, siginfo_t* info, void* context) {
  Copy* const copy = current;
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  if (info->si_code > 0 && copy != nullptr && at >= copy->first_page && at < copy->end) {
    siglongjmp(copy->way_out, 1);
  }
  pass_on(signal, info, context);
}

// The way out leaves the signal blocked. Only there: a mask that is saved is a system call for each copy.
void unblock() {
  sigset_t bus_errors;
  ::sigemptyset(&bus_errors);
  ::sigaddset(&bus_errors, SIGBUS);
  ::pthread_sigmask(SIG_UNBLOCK, &bus_errors, nullptr);
}

bool handle_bus_errors() {
  struct sigaction action{};
  action.sa_sigaction = leave_copy;
  action.sa_flags = SA_SIGINFO;
  return ::sigaction(SIGBUS, &action, &before) == 0;
}

}  // namespace

bool copy_mapped(const std::byte* source, std::span<std::byte> target) noexcept {
  static const bool is_handled = handle_bus_errors();
  static_cast<void>(is_handled);
  if (target.empty()) return true;
  Copy copy{.first_page = source - reinterpret_cast<std::uintptr_t>(source) % smallest_page,
            .end = source + target.size()};
  // NOLINTNEXTLINE(cert-err52-cpp): no exception may leave a signal's handler; nothing here has a destructor
  if (sigsetjmp(copy.way_out, 0) != 0) {
    current = nullptr;
    unblock();
    return false;
  }
  current = &copy;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the copy stays between the two
  std::memcpy(target.data(), source, target.size());
  std::atomic_signal_fence(std::memory_order_seq_cst);
  current = nullptr;
  return true;
}

}  // namespace gneiss
