#include "storage/base/cancel.h"

#include <csignal>
#include <thread>

#include "storage/base/error.h"

namespace gneiss {
namespace {

std::stop_source& interrupt_source() {
  static std::stop_source source;
  return source;
}

}  // namespace

void install_signal_handlers() {
  // A handler may not lock, and request_stop does: the signals are blocked everywhere and one thread
  // waits for them instead.
  static const bool installed = [] {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    // A terminal that goes away; nohup has it ignored, and so it stays.
    struct sigaction hang_up{};
    if (sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN)
      sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    interrupt_source();
    std::thread([signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      interrupt_source().request_stop();
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      if (sigismember(&signals, SIGHUP) == 1) std::signal(SIGHUP, SIG_DFL);
      sigwait(&signals, &signal);
      std::_Exit(130);
    }).detach();
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
