#include "storage/io/mapped_copy.h"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstring>

namespace gneiss {
namespace {

// The copy that this thread is in.
struct Copy {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  sigjmp_buf way_out{};
};
thread_local Copy* volatile current = nullptr;

struct sigaction before{};  // what SIGBUS did

void leave_copy(int /*signal*/, siginfo_t* info, void* /*context*/) {
  Copy* const copy = current;
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  if (copy != nullptr && at >= copy->begin && at < copy->end) siglongjmp(copy->way_out, 1);
  // Not ours: what touched the page does so again, and meets what was there before.
  ::sigaction(SIGBUS, &before, nullptr);
  if (info->si_code <= 0) ::raise(SIGBUS);  // sent by a process, which does not do so again
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
  Copy copy{.begin = source, .end = source + target.size()};
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
