#include "storage/base/cancel.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "storage/base/error.h"

namespace gneiss {
namespace {

std::stop_source& interrupt_source() {
  static std::stop_source source;
  return source;
}

// SIGHUP: a terminal that goes away.
constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

bool is_ignored(int signal) {
  struct sigaction action{};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// A thread's work: the first of these signals asks for the end, the second is one.
void await(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  interrupt_source().request_stop();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  for (const int each : ending_signals) {
    if (sigismember(&signals, each) == 1) std::signal(each, SIG_DFL);
  }
  sigwait(&signals, &signal);
  std::_Exit(130);
}

}  // namespace

void install_signal_handlers() {
  // A handler may not lock, and request_stop does: the signals are blocked everywhere and one thread
  // waits for them instead.
  static const bool installed = [] {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : ending_signals) {
      if (!is_ignored(signal)) sigaddset(&signals, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    interrupt_source();
    try {
      std::thread([signals] { await(signals); }).detach();
    } catch (const std::system_error&) {
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      return false;
    }
    return true;
  }();
  static_cast<void>(installed);
}

std::stop_token interrupt_token() { return interrupt_source().get_token(); }

void throw_if_interrupted() {
  if (interrupt_source().stop_requested()) {
    fail(Kind::cancelled, "interrupted; nothing half-written was left: run the same command again");
  }
}

}  // namespace gneiss
