// Stacks on which the threads of a block run, and the switch from one to another.
//
// Why:     a block of 256 threads that meet at a barrier needs 256 places to stop. A switch saves seven
//          registers and makes no system call: 20 to 25 ns measured, with its share of the barrier.
// Threads: those of one host thread at a time, under the emulator's lock; another may go on with them later.
// Memory:  each stack is 64 KiB (256 KiB under a sanitizer) of address space with a guard page below it, kept
//          for the next block. What is touched of it is all that it costs.
#pragma once

#include <cstddef>

namespace gneiss::emulated_cuda {

// Where something stopped. The host's own stack is one, too: a default Context.
struct Context {
  void* stack_pointer = nullptr;
  // For sanitizers, who must know where the stack is.
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

// A context that runs `body` on its own stack when it is first switched to. `body` never returns. Lives for
// the whole program.
Context* make_fiber(void (*body)());

// Prepares `host`, the context of the caller, for switches from it and back.
void enter_from_host(Context& host);
// Stops in `from`, goes on in `to`; returns when something switches back.
void switch_context(Context& from, Context& to);

}  // namespace gneiss::emulated_cuda
