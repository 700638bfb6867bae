// A row to a place that is not read soon: past the caches, in whole lines, so that the place is not fetched
// first.
//
// Copying scattered rows runs at the speed of memory. An ordinary store reads the line that it overwrites,
// and what is copied pushes out what the next layer wants; streaming stores do neither, and took 0.6 of the
// time.
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gneiss {

inline constexpr std::size_t cache_line_bytes = 64;

// Whether copies into such rows fill whole lines: the first row begins a line and each is made of whole ones.
inline bool is_streamable(const std::byte* rows, std::size_t row_bytes) noexcept {
  return row_bytes % cache_line_bytes == 0 && reinterpret_cast<std::uintptr_t>(rows) % cache_line_bytes == 0;
}

// `to`: of rows that is_streamable() holds for. Other threads see it after end_of_streaming() on this one.
// SSE2, which every x86-64 has: four stores fill a line, and wider ones are no faster at the speed of memory.
inline void stream_row(std::byte* to, const std::byte* from, std::size_t row_bytes) noexcept {
#ifdef __SSE2__
  for (std::size_t at = 0; at < row_bytes; at += sizeof(__m128i)) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  }
#else
  std::memcpy(to, from, row_bytes);
#endif
}

inline void end_of_streaming() noexcept {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

}  // namespace gneiss
