#include "tests/emulated_cuda/block_runner.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/emulated_cuda/block_state.h"
#include "tests/emulated_cuda/die.h"

namespace gneiss::emulated_cuda {

ThreadPlace current_place;
BlockState block;

namespace {

Context host;
// The fiber of the thread that runs, and those that have nothing to do.
Context* running_fiber = nullptr;
// Never destroyed: destructors of a program's own may still free device memory, and wait for kernels.
std::vector<Context*>& idle_fibers = *new std::vector<Context*>;

std::string triple(const uint3& v) { return fmt::format("({}, {}, {})", v.x, v.y, v.z); }

uint3 thread_index(unsigned linear) {
  const dim3& size = block.run->block_size;
  if (size.y == 1 && size.z == 1) return {linear, 0, 0};
  return {linear % size.x, linear / size.x % size.y, linear / size.x / size.y};
}

void go_on_as(unsigned thread) {
  block.current = thread;
  block.threads[thread].state = ThreadState::running;
  current_place.thread = block.threads[thread].index;
}

// No thread can run, yet some wait.
[[noreturn]] void die_of_waiting() {
  std::string message = "threads wait for others that never come:";
  unsigned told = 0;
  for (unsigned t = 0; t < block.thread_count && told < 3; ++t) {
    const ThreadRecord& thread = block.threads[t];
    if (thread.state != ThreadState::at_barrier && thread.state != ThreadState::at_warp_call) continue;
    message +=
        fmt::format(" thread {} at {}:{} ({}),", triple(thread.index), thread.site.file, thread.site.line,
                    thread.state == ThreadState::at_barrier ? "__syncthreads" : "a warp function");
    ++told;
  }
  die(message + fmt::format(" and {} of {} threads have returned", block.finished, block.thread_count));
}

void resume(Context*& self, unsigned thread) {
  Context* const target = block.threads[thread].context;
  running_fiber = target;
  switch_context(*self, *target);
}

unsigned take_ready() {
  const unsigned thread = block.ready[block.ready_begin];
  block.ready_begin = (block.ready_begin + 1) % threads_max;
  --block.ready_count;
  return thread;
}

void run_next_thread() {
  const unsigned nth = block.started++;
  const unsigned linear = block.run->last_thread_first ? block.thread_count - 1 - nth : nth;
  ThreadRecord& thread = block.threads[linear];
  thread.index = thread_index(linear);
  thread.context = running_fiber;
  go_on_as(linear);
  (*block.run->thread)();
  thread.state = ThreadState::finished;
  ++block.finished;
}

void fiber_body() {
  for (;;) {
    while (block.started < block.thread_count) run_next_thread();
    Context* self = running_fiber;
    idle_fibers.push_back(self);
    if (block.ready_count > 0) {
      resume(self, take_ready());
    } else if (block.finished == block.thread_count) {
      running_fiber = nullptr;
      switch_context(*self, host);
    } else {
      die_of_waiting();
    }
  }
}

Context* take_idle_fiber() {
  if (idle_fibers.empty()) return make_fiber(fiber_body);
  Context* const fiber = idle_fibers.back();
  idle_fibers.pop_back();
  return fiber;
}

void run_block(uint3 index) {
  current_place.block = index;
  block.started = block.finished = block.at_barrier = 0;
  for (unsigned t = 0; t < block.thread_count; ++t) block.threads[t].state = ThreadState::not_started;
  running_fiber = take_idle_fiber();
  switch_context(host, *running_fiber);
}

}  // namespace

void make_ready(unsigned thread) {
  block.ready[(block.ready_begin + block.ready_count++) % threads_max] = static_cast<std::uint16_t>(thread);
}

void wait_for_turn() {
  const unsigned thread = block.current;
  Context* self = running_fiber;
  if (block.ready_count > 0) {
    resume(self, take_ready());
  } else if (block.started < block.thread_count) {
    running_fiber = take_idle_fiber();
    switch_context(*self, *running_fiber);
  } else {
    die_of_waiting();
  }
  go_on_as(thread);
}

int meet_block(BlockCall call, int value, CallSite site) {
  ThreadRecord& self = block.threads[block.current];
  self.state = ThreadState::at_barrier;
  self.site = site;
  self.block_call = call;
  self.value = static_cast<std::uint64_t>(value != 0);
  if (++block.at_barrier < block.thread_count) {
    wait_for_turn();
    return static_cast<int>(self.result);
  }
  // The last to come wakes the others.
  std::uint64_t count = 0;
  for (unsigned t = 0; t < block.thread_count; ++t) {
    const ThreadRecord& other = block.threads[t];
    if (other.site.line != site.line || other.block_call != call) {
      die(fmt::format("__syncthreads diverges: thread {} waits at {}:{}, thread {} at {}:{}",
                      triple(self.index), site.file, site.line, triple(other.index), other.site.file,
                      other.site.line));
    }
    count += other.value;
  }
  std::uint64_t result = count;
  if (call == BlockCall::all) result = count == block.thread_count;
  if (call == BlockCall::any) result = count != 0;
  block.at_barrier = 0;
  for (unsigned nth = 0; nth < block.thread_count; ++nth) {
    const unsigned t = block.run->last_thread_first ? block.thread_count - 1 - nth : nth;
    block.threads[t].result = result;
    if (t != block.current) make_ready(t);
  }
  self.state = ThreadState::running;
  return static_cast<int>(result);
}

void run_grid(const GridRun& run) {
  enter_from_host(host);
  block.run = &run;
  block.thread_count = run.block_size.x * run.block_size.y * run.block_size.z;
  current_place.block_size = run.block_size;
  current_place.grid_size = run.grid_size;
  const std::uint64_t count = std::uint64_t{run.grid_size.x} * run.grid_size.y * run.grid_size.z;
  for (std::uint64_t nth = 0; nth < count; ++nth) {
    const std::uint64_t linear = run.last_block_first ? count - 1 - nth : nth;
    const std::uint64_t rows = linear / run.grid_size.x;
    run_block({static_cast<unsigned>(linear % run.grid_size.x), static_cast<unsigned>(rows % run.grid_size.y),
               static_cast<unsigned>(rows / run.grid_size.y)});
  }
  block.run = nullptr;
}

std::string describe_place() {
  if (block.run == nullptr) return "";
  return fmt::format("kernel {}, block {}, thread {}", block.run->kernel, triple(current_place.block),
                     triple(current_place.thread));
}

void trap(CallSite site) { die(fmt::format("__trap() at {}:{}", site.file, site.line)); }

void die(std::string_view message) {
  const std::string place = describe_place();
  std::fputs(fmt::format("emulated CUDA: {}{}{}\n", message, place.empty() ? "" : "; in ", place).c_str(),
             stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace gneiss::emulated_cuda
