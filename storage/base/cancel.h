// Ctrl-C and SIGTERM as a stop_token: long work polls it at each piece and ends with Kind::cancelled.
#pragma once

#include <stop_token>

namespace gneiss {

// Installs the handlers once; a second signal ends the process at once. A signal that is ignored (nohup, a
// job that a script runs in the background) stays so. Where the system gives no thread, signals end the
// process.
void install_signal_handlers();
// Requested after the first signal. Valid for the life of the process.
std::stop_token interrupt_token();
// Throws Error(cancelled) when an interrupt was requested.
void throw_if_interrupted();

}  // namespace gneiss
