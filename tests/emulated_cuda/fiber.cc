#include "tests/emulated_cuda/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <deque>

#include "tests/emulated_cuda/die.h"

#if defined(__SANITIZE_ADDRESS__)
#define GNEISS_ASAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GNEISS_ASAN_FIBERS 1
#endif
#endif
#ifdef GNEISS_ASAN_FIBERS
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

// void gneiss_switch_stack(void** from, void* to): the registers that a call preserves go to the old stack
// and come from the new one.
asm(R"(
.text
.p2align 4
.type gneiss_switch_stack, @function
gneiss_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size gneiss_switch_stack, . - gneiss_switch_stack
)");
extern "C" void gneiss_switch_stack(void** from, void* to);

namespace gneiss::emulated_cuda {
namespace {

constexpr std::size_t guard_bytes = 4096;
#ifdef GNEISS_SANITIZED
constexpr std::size_t usable_bytes = 256 << 10;
#else
constexpr std::size_t usable_bytes = 64 << 10;
#endif

// The context that switched last: a sanitizer tells where its stack is only once we have left it.
Context* left = nullptr;
void (*first_body)() = nullptr;

void finish_switch([[maybe_unused]] void* fake_stack) {
#ifdef GNEISS_ASAN_FIBERS
  __sanitizer_finish_switch_fiber(fake_stack, &left->stack_bottom, &left->stack_bytes);
#endif
}

void fiber_main() {
  finish_switch(nullptr);
  first_body();
  __builtin_unreachable();
}

}  // namespace

Context* make_fiber(void (*body)()) {
  first_body = body;
  void* const map = ::mmap(nullptr, guard_bytes + usable_bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED || ::mprotect(map, guard_bytes, PROT_NONE) != 0) die("no memory for another thread");
  auto* const bottom = static_cast<std::byte*>(map) + guard_bytes;
  // Stacks that all begin at the same place of a page would share a few lines of the cache.
  static std::size_t stack_count = 0;
  const std::size_t shift = stack_count++ % 32 * 128;
  // A function begins with the stack 8 bytes below a multiple of 16: its return address, here none.
  auto* const top = reinterpret_cast<std::uint64_t*>(bottom + usable_bytes - shift);
  top[-2] = reinterpret_cast<std::uint64_t>(&fiber_main);
  // Never destroyed, and found by those who look for leaks.
  static auto* const contexts = new std::deque<Context>;
  Context* const context = &contexts->emplace_back();
  context->stack_pointer = top - 2 - 6;  // six registers, zero
  context->stack_bottom = bottom;
  context->stack_bytes = usable_bytes;
#ifdef __SANITIZE_THREAD__
  context->tsan_fiber = __tsan_create_fiber(0);
#endif
  return context;
}

void enter_from_host([[maybe_unused]] Context& host) {
#ifdef __SANITIZE_THREAD__
  host.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void switch_context(Context& from, Context& to) {
  left = &from;
#ifdef GNEISS_ASAN_FIBERS
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  gneiss_switch_stack(&from.stack_pointer, to.stack_pointer);
  finish_switch(from.fake_stack);
}

}  // namespace gneiss::emulated_cuda
