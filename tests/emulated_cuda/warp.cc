// Warp functions: who comes last does the work of all lanes of the mask, so that no lane can overtake
// another.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "tests/emulated_cuda/block_state.h"
#include "tests/emulated_cuda/die.h"

namespace gneiss::emulated_cuda {
namespace {

// What a lane that is not there would have said: reads as NaN.
constexpr std::uint64_t nobody = ~std::uint64_t{0};

std::uint64_t combine(WarpCall call, std::uint64_t a, std::uint64_t b) {
  const auto ua = static_cast<std::uint32_t>(a), ub = static_cast<std::uint32_t>(b);
  const auto ia = static_cast<std::int32_t>(ua), ib = static_cast<std::int32_t>(ub);
  switch (call) {
    case WarpCall::add:
      return ua + ub;
    case WarpCall::min_int:
      return static_cast<std::uint32_t>(std::min(ia, ib));
    case WarpCall::max_int:
      return static_cast<std::uint32_t>(std::max(ia, ib));
    case WarpCall::min_uint:
      return std::min(ua, ub);
    case WarpCall::max_uint:
      return std::max(ua, ub);
    case WarpCall::bit_and:
      return ua & ub;
    case WarpCall::bit_or:
      return ua | ub;
    case WarpCall::bit_xor:
      return ua ^ ub;
    default:
      return 0;
  }
}

template <class Visit>
void for_each_lane(unsigned first, unsigned mask, const Visit& visit) {
  for (unsigned left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    visit(lane, block.threads[first + static_cast<unsigned>(lane)]);
  }
}

void serve_lanes(unsigned first, unsigned mask, WarpCall call) {
  if (call == WarpCall::shuffle) {
    for_each_lane(first, mask, [&](int, ThreadRecord& lane) {
      const bool there =
          lane.source_lane >= 0 && lane.source_lane < 32 && (mask >> lane.source_lane & 1u) != 0;
      lane.result = there ? block.threads[first + static_cast<unsigned>(lane.source_lane)].value : nobody;
    });
    return;
  }
  std::uint64_t all = call == WarpCall::ballot ? 0 : block.threads[first + std::countr_zero(mask)].value;
  for_each_lane(first, mask, [&](int lane, const ThreadRecord& record) {
    if (call == WarpCall::ballot) {
      all |= record.value << lane;
    } else if (lane != std::countr_zero(mask)) {
      all = combine(call, all, record.value);
    }
  });
  for_each_lane(first, mask, [&](int, ThreadRecord& lane) { lane.result = all; });
}

}  // namespace

int current_lane() { return static_cast<int>(block.current % lanes_per_warp); }

std::uint64_t meet_warp(WarpCall call, unsigned mask, std::uint64_t value, int source_lane, CallSite site) {
  const unsigned me = block.current;
  const unsigned first = me - me % lanes_per_warp;
  ThreadRecord& self = block.threads[me];
  if ((mask >> (me - first) & 1u) == 0) {
    die(fmt::format("a warp function at {}:{} whose mask {:#x} leaves out the caller", site.file, site.line,
                    mask));
  }
  // Lanes beyond the block do not exist.
  const unsigned exist = std::min(block.thread_count - first, lanes_per_warp);
  if (exist < lanes_per_warp) mask &= (1u << exist) - 1;
  self.state = ThreadState::at_warp_call;
  self.site = site;
  self.warp_call = call;
  self.mask = mask;
  self.source_lane = source_lane;
  self.value = value;

  unsigned& waiting = block.lanes_waiting[first / lanes_per_warp];
  waiting |= 1u << (me - first);
  if ((waiting & mask) != mask) {
    wait_for_turn();
    return self.result;
  }
  for_each_lane(first, mask, [&](int lane, const ThreadRecord& other) {
    if (other.mask != mask || other.warp_call != call || other.site.line != site.line) {
      die(fmt::format(
          "a warp function diverges: lane {} waits at {}:{} with mask {:#x}, this one at {}:{} with {:#x}",
          lane, other.site.file, other.site.line, other.mask, site.file, site.line, mask));
    }
  });
  waiting &= ~mask;
  serve_lanes(first, mask, call);
  for_each_lane(first, mask, [&](int lane, ThreadRecord& other) {
    other.state = ThreadState::running;
    if (first + static_cast<unsigned>(lane) != me) make_ready(first + static_cast<unsigned>(lane));
  });
  return self.result;
}

}  // namespace gneiss::emulated_cuda
