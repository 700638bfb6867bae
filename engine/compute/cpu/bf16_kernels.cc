#include "engine/compute/cpu/bf16_kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "storage/base/aligned_buffer.h"

// GCC 12 takes what its own intrinsics leave undefined on purpose for a mistake (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

// Each function that uses these instructions says so; none is called without has_bf16_products().
#define GNEISS_BF16_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace gneiss::cpu {
namespace {

constexpr std::size_t lanes = 16;
constexpr std::size_t line_bytes = 64;
constexpr std::size_t tile_rows = 8;  // times two vectors of columns: 16 sums, enough to hide their latency

GNEISS_BF16_TARGET inline __mmask16 first_lanes(std::size_t count) {
  return static_cast<__mmask16>(count >= lanes ? 0xFFFFU : (1U << count) - 1U);
}

GNEISS_BF16_TARGET inline __m256i to_bf16(__m512 values) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values));
}

// Pairs of two rows, column by column: the first row's value in the low half.
GNEISS_BF16_TARGET inline __m512i interleave(__m512 first, __m512 second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(to_bf16(first)),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(second)), 16));
}

// Pairs of rows 2 * pair and the next, columns [column, column + count); a row that is not there is 0.
GNEISS_BF16_TARGET inline __m512i row_pairs(ConstMatrixView x, std::size_t pair, std::size_t column,
                                            std::size_t count) {
  const __mmask16 mask = first_lanes(count);
  const __m512 first = _mm512_maskz_loadu_ps(mask, x.row(2 * pair) + column);
  const __m512 second =
      2 * pair + 1 < x.rows ? _mm512_maskz_loadu_ps(mask, x.row(2 * pair + 1) + column) : _mm512_setzero_ps();
  return interleave(first, second);
}

// One row as pairs of its columns. An odd column's partner is 0.
GNEISS_BF16_TARGET inline void pack_row(const float* row, std::size_t columns, std::uint32_t* out) {
  std::size_t column = 0;
  for (; column + lanes <= columns; column += lanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + column / 2), to_bf16(_mm512_loadu_ps(row + column)));
  }
  if (column < columns) {
    alignas(32) std::uint32_t rest[lanes / 2];
    const __m512 values = _mm512_maskz_loadu_ps(first_lanes(columns - column), row + column);
    _mm256_store_si256(reinterpret_cast<__m256i*>(rest), to_bf16(values));
    std::memcpy(out + column / 2, rest, pairs_of(columns - column) * sizeof(std::uint32_t));
  }
}

GNEISS_BF16_TARGET inline __m512 add_products(__m512 sum, std::uint32_t pair, __m512i panel) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair))),
                          reinterpret_cast<__m512bh>(panel));
}

// Adds to `sums` the products of `Rows` rows with one panel's columns.
template <std::size_t Rows>
GNEISS_BF16_TARGET inline void sum_pairs(__m512 (&sums)[Rows][2], const std::uint32_t* a,
                                         std::size_t row_stride, std::size_t pair_stride,
                                         const std::uint32_t* panel, std::size_t pairs) {
  for (std::size_t p = 0; p < pairs; ++p) {
    const __m512i left = _mm512_loadu_si512(panel + p * panel_columns);
    const __m512i right = _mm512_loadu_si512(panel + p * panel_columns + lanes);
    const std::uint32_t* const values = a + p * pair_stride;
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      sums[r][0] = add_products(sums[r][0], values[r * row_stride], left);
      sums[r][1] = add_products(sums[r][1], values[r * row_stride], right);
    }
  }
}

// `Rows` rows of one panel's columns. `columns`: how many of them there are.
template <std::size_t Rows>
GNEISS_BF16_TARGET void tile(const std::uint32_t* a, std::size_t row_stride, std::size_t pair_stride,
                             const std::uint32_t* panel, std::size_t pairs, float* out,
                             std::size_t out_stride, std::size_t columns, bool adds) {
  const __mmask16 low = first_lanes(columns);
  const __mmask16 high = columns > lanes ? first_lanes(columns - lanes) : __mmask16{0};
  __m512 sums[Rows][2];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
    float* row = out + r * out_stride;
    if (!adds) {  // by the time of the stores the lines are there
      __builtin_prefetch(row, 1);
      if (columns > lanes) __builtin_prefetch(row + lanes, 1);
    }
    sums[r][0] = adds ? _mm512_maskz_loadu_ps(low, row) : _mm512_setzero_ps();
    sums[r][1] = adds ? _mm512_maskz_loadu_ps(high, row + lanes) : _mm512_setzero_ps();
  }
  sum_pairs<Rows>(sums, a, row_stride, pair_stride, panel, pairs);
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
    float* row = out + r * out_stride;
    _mm512_mask_storeu_ps(row, low, sums[r][0]);
    _mm512_mask_storeu_ps(row + lanes, high, sums[r][1]);
  }
}

// The same, rounded: a whole panel, for a row's zeros belong to it.
template <std::size_t Rows>
GNEISS_BF16_TARGET void rounded_tile(const std::uint32_t* a, std::size_t row_stride, std::size_t pair_stride,
                                     const std::uint32_t* panel, std::size_t pairs, std::uint16_t* out,
                                     std::size_t out_stride) {
  __m512 sums[Rows][2];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
    __builtin_prefetch(out + r * out_stride, 1);
    sums[r][0] = _mm512_setzero_ps();
    sums[r][1] = _mm512_setzero_ps();
  }
  sum_pairs<Rows>(sums, a, row_stride, pair_stride, panel, pairs);
#pragma GCC unroll 8
  for (std::size_t r = 0; r < Rows; ++r) {
    const __m512bh halves = _mm512_cvtne2ps_pbh(sums[r][1], sums[r][0]);
    _mm512_storeu_si512(out + r * out_stride, reinterpret_cast<__m512i>(halves));
  }
}

using Tile = void (*)(const std::uint32_t*, std::size_t, std::size_t, const std::uint32_t*, std::size_t,
                      float*, std::size_t, std::size_t, bool);
constexpr Tile tiles[tile_rows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};
using RoundedTile = void (*)(const std::uint32_t*, std::size_t, std::size_t, const std::uint32_t*,
                             std::size_t, std::uint16_t*, std::size_t);
constexpr RoundedTile rounded_tiles[tile_rows] = {rounded_tile<1>, rounded_tile<2>, rounded_tile<3>,
                                                  rounded_tile<4>, rounded_tile<5>, rounded_tile<6>,
                                                  rounded_tile<7>, rounded_tile<8>};

}  // namespace

bool has_bf16_products() noexcept {
  static const bool has = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                          __builtin_cpu_supports("avx512dq") != 0 &&
                          __builtin_cpu_supports("avx512vl") != 0 &&
                          __builtin_cpu_supports("avx512bf16") != 0;
  return has;
}

std::size_t panel_words(std::size_t k, std::size_t m) noexcept {
  return divide_up(m, panel_columns) * pairs_of(k) * panel_columns;
}

GNEISS_BF16_TARGET PackedLeft pack_left(ConstMatrixView x, std::uint32_t* out) {
  const std::size_t pairs = pairs_of(x.columns);
  for (std::size_t r = 0; r < x.rows; ++r) pack_row(x.row(r), x.columns, out + r * pairs);
  return {out, x.rows, pairs, 1};
}

PackedLeft as_left(ConstHalfView x) {
  GNEISS_ASSERT(x.stride % 2 == 0);
  return {reinterpret_cast<const std::uint32_t*>(x.data), x.rows, x.stride / 2, 1};
}

GNEISS_BF16_TARGET PackedLeft pack_left_transposed(ConstMatrixView x, std::uint32_t* out) {
  const std::size_t width = round_up(x.columns, lanes);
  for (std::size_t p = 0; p < pairs_of(x.rows); ++p) {
    for (std::size_t c = 0; c < x.columns; c += lanes) {
      _mm512_storeu_si512(out + p * width + c, row_pairs(x, p, c, x.columns - c));
    }
  }
  return {out, x.columns, 1, width};
}

GNEISS_BF16_TARGET void pack_panel(ConstMatrixView b, std::size_t panel, std::uint32_t* out) {
  const std::size_t first = panel * panel_columns;
  for (std::size_t p = 0; p < pairs_of(b.rows); ++p) {
    for (std::size_t c = 0; c < panel_columns; c += lanes) {
      const std::size_t column = first + c;
      const __m512i pairs =
          column < b.columns ? row_pairs(b, p, column, b.columns - column) : _mm512_setzero_si512();
      _mm512_storeu_si512(out + p * panel_columns + c, pairs);
    }
  }
}

// Whole lines are read: there are zeros behind the columns.
GNEISS_BF16_TARGET void pack_panel(ConstHalfView b, std::size_t panel, std::uint32_t* out) {
  const auto halves = [&](std::size_t row, std::size_t column) GNEISS_BF16_TARGET {
    return _mm512_cvtepu16_epi32(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b.row(row) + panel * panel_columns + column)));
  };
  for (std::size_t p = 0; p < pairs_of(b.rows); ++p) {
    for (std::size_t c = 0; c < panel_columns; c += lanes) {
      const __m512i first = halves(2 * p, c);
      const __m512i second = 2 * p + 1 < b.rows ? halves(2 * p + 1, c) : _mm512_setzero_si512();
      _mm512_storeu_si512(out + p * panel_columns + c, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
    }
  }
}

GNEISS_BF16_TARGET void pack_panel_transposed(ConstMatrixView b, std::size_t panel, std::uint32_t* out) {
  constexpr std::size_t chunk = 64;  // columns of a row at once: what is scattered stays in L1
  const std::size_t first = panel * panel_columns;
  const std::size_t pairs = pairs_of(b.columns);
  for (std::size_t c = 0; c < panel_columns; ++c) {
    if (first + c >= b.rows) {
      for (std::size_t p = 0; p < pairs; ++p) out[p * panel_columns + c] = 0;
      continue;
    }
    for (std::size_t column = 0; column < b.columns; column += chunk) {
      std::uint32_t row[chunk / 2];
      const std::size_t count = std::min(chunk, b.columns - column);
      pack_row(b.row(first + c) + column, count, row);
      for (std::size_t p = 0; p < pairs_of(count); ++p) out[(column / 2 + p) * panel_columns + c] = row[p];
    }
  }
}

RowsAhead::RowsAhead(const void* data, std::size_t rows, std::size_t row_bytes, std::size_t stride_bytes)
    : data_(static_cast<const char*>(data)),
      rows_(rows),
      stride_bytes_(stride_bytes),
      row_lines_(divide_up(row_bytes, line_bytes)) {}

void RowsAhead::plan(std::size_t turns) {
  const std::size_t lines = rows_ * row_lines_;
  lines_a_turn_ = lines == 0 ? 0 : divide_up(lines, turns);
}

void RowsAhead::fetch() {
  for (std::size_t lines = lines_a_turn_; lines > 0 && row_ < rows_; --lines) {
    _mm_prefetch(data_ + row_ * stride_bytes_ + line_ * line_bytes, _MM_HINT_T1);
    if (++line_ == row_lines_) {
      line_ = 0;
      ++row_;
    }
  }
}

void multiply_packed(const PackedLeft& a, const std::uint32_t* panels, std::size_t pairs, MatrixView out,
                     Into into, std::span<RowsAhead> ahead) {
  GNEISS_ASSERT(a.rows == out.rows && pairs > 0);
  const std::size_t tile_count =
      divide_up(pairs, block_pairs) * divide_up(out.columns, panel_columns) * divide_up(a.rows, tile_rows);
  for (RowsAhead& next : ahead) next.plan(tile_count);
  for (std::size_t first = 0; first < pairs; first += block_pairs) {
    const std::size_t count = std::min(block_pairs, pairs - first);
    const bool adds = into == Into::add || first > 0;
    for (std::size_t column = 0; column < out.columns; column += panel_columns) {
      const std::uint32_t* panel = panels + column * pairs + first * panel_columns;
      const std::size_t columns = std::min(panel_columns, out.columns - column);
      for (std::size_t r = 0; r < a.rows; r += tile_rows) {
        const std::size_t rows = std::min(tile_rows, a.rows - r);
        for (RowsAhead& next : ahead) next.fetch();
        tiles[rows - 1](a.data + r * a.row_stride + first * a.pair_stride, a.row_stride, a.pair_stride, panel,
                        count, out.row(r) + column, out.stride, columns, adds);
      }
    }
  }
}

void multiply_packed_rounded(const PackedLeft& a, const std::uint32_t* panels, std::size_t pairs,
                             HalfView out, std::span<RowsAhead> ahead) {
  GNEISS_ASSERT(a.rows == out.rows && pairs > 0 && pairs <= block_pairs);
  const std::size_t tile_count = divide_up(out.columns, panel_columns) * divide_up(a.rows, tile_rows);
  for (RowsAhead& next : ahead) next.plan(tile_count);
  for (std::size_t column = 0; column < out.columns; column += panel_columns) {
    const std::uint32_t* panel = panels + column * pairs;
    for (std::size_t r = 0; r < a.rows; r += tile_rows) {
      const std::size_t rows = std::min(tile_rows, a.rows - r);
      for (RowsAhead& next : ahead) next.fetch();
      rounded_tiles[rows - 1](a.data + r * a.row_stride, a.row_stride, a.pair_stride, panel, pairs,
                              out.row(r) + column, out.stride);
    }
  }
}

}  // namespace gneiss::cpu
