#include "storage/base/checksum.h"

#include <xxhash.h>
#ifdef GNEISS_XXHASH_DISPATCHES
#include <immintrin.h>
#include <xxh_x86dispatch.h>  // the same values from wider registers: 1.6 times as fast on rows in memory
#endif

#include <new>

namespace gneiss {
namespace {

#ifdef GNEISS_XXHASH_DISPATCHES
[[gnu::target("avx")]] void clear_upper_halves() noexcept { _mm256_zeroupper(); }
#endif

// XXH3 of 0.8.1 may leave the upper halves of wide registers in use (XGETBV tells), and whatever the thread
// computes in narrow ones then waits for them: generating a graph took 1.4 times as long.
void let_go_of_wide_registers() noexcept {
#ifdef GNEISS_XXHASH_DISPATCHES
  static const bool has_them = __builtin_cpu_supports("avx") != 0;
  if (has_them) clear_upper_halves();
#endif
}

}  // namespace

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  const std::uint64_t sum = XXH3_64bits(bytes.data(), bytes.size());
  let_go_of_wide_registers();
  return sum;
}

void StreamChecksum::Free::operator()(XXH3_state_s* state) const noexcept { XXH3_freeState(state); }

StreamChecksum::StreamChecksum() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  reset();
}

void StreamChecksum::update(std::span<const std::byte> bytes) noexcept {
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  let_go_of_wide_registers();
}

std::uint64_t StreamChecksum::value() const noexcept { return XXH3_64bits_digest(state_.get()); }

void StreamChecksum::reset() noexcept { XXH3_64bits_reset(state_.get()); }

}  // namespace gneiss
