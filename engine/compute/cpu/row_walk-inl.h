// Walks over scattered rows: pointers resolved and lines prefetched a fixed number of rows ahead, and sums of
// the rows that are there. Rows of one memory are found by a product, without pointers kept: of rows of one
// line, as exact inference has them, the finding took a third of the time. Included once per instruction set
// by the kernels' files.
#if defined(GNEISS_ROW_WALK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GNEISS_ROW_WALK_INL_H_
#undef GNEISS_ROW_WALK_INL_H_
#else
#define GNEISS_ROW_WALK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "engine/compute/cpu/vectors-inl.h"
#include "engine/compute/tiered_rows.h"

HWY_BEFORE_NAMESPACE();
namespace gneiss::cpu::HWY_NAMESPACE {

// Edges of one destination are summed in runs of at most this many, so that their pointers fit a ring.
constexpr std::size_t run_edges_max = 32;
constexpr std::size_t ring_size = 128;
constexpr std::size_t line_bytes = 64;
// Bytes of rows on the way: 8 KiB keeps a core's line buffers busy for rows of any width.
constexpr std::size_t prefetch_bytes = 8192;
constexpr std::size_t prefetch_rows_max = ring_size - run_edges_max;

// TieredRows::row() without branches: neighbors hit tiers at random, so each branch would be mispredicted
// every other time. A tier without slots reads a slot that is then masked away.
class RowFinder {
 public:
  explicit RowFinder(const TieredRows& rows) {
    first_.fill(std::numeric_limits<std::uint32_t>::max());
    std::size_t used = 0;
    for (std::size_t r = 0; r < rows.range_count(); ++r) {
      const TierRange& range = rows.range(r);
      if (range.count == 0) continue;
      const bool has_slots = range.slots != nullptr;
      first_[used] = range.first_local;
      ranges_[used++] = {range.base, has_slots ? range.slots : &no_slot, range.slot_bytes,
                         has_slots ? ~0U : 0U};
    }
  }
  HWY_INLINE const std::byte* operator()(std::uint32_t local) const {
    const std::size_t r = static_cast<std::size_t>(local >= first_[1]) +
                          static_cast<std::size_t>(local >= first_[2]) +
                          static_cast<std::size_t>(local >= first_[3]);
    const Range& range = ranges_[r];
    const std::uint32_t index = local - first_[r];
    const std::uint32_t slot = (range.slots[index & range.mask] & range.mask) | (index & ~range.mask);
    return range.base + std::size_t{slot} * range.slot_bytes;
  }

 private:
  struct Range {
    const std::byte* base = nullptr;
    const std::uint32_t* slots = nullptr;
    std::size_t slot_bytes = 0;
    std::uint32_t mask = 0;  // all ones where rows have slots
  };
  static constexpr std::uint32_t no_slot = 0;
  static_assert(tier_range_count_max == 4);
  std::array<std::uint32_t, tier_range_count_max> first_{};
  std::array<Range, tier_range_count_max> ranges_{};
};

// How far ahead of a walk rows are prefetched, and how.
class RowPrefetch {
 public:
  explicit RowPrefetch(const TieredRows& rows)
      : bytes_(rows.columns() * size_of(rows.dtype())),
        straddles_(rows.row_bytes() % line_bytes != 0),
        ahead_(std::clamp<std::size_t>(prefetch_bytes / std::max<std::size_t>(bytes_, 1), 2,
                                       prefetch_rows_max)) {}
  std::size_t ahead() const { return ahead_; }
  HWY_INLINE void operator()(const std::byte* row) const {
    for (std::size_t offset = 0; offset < bytes_; offset += line_bytes) ask(row + offset);
    if (straddles_) ask(row + bytes_ - 1);
  }

 private:
  // Into the second cache, not the first: of rows of a line, one core then has 10 GB/s instead of 6.5, for
  // the first cache waits for fewer lines at once (AMD EPYC; 64 B of 640 MB at random).
  static HWY_INLINE void ask(const std::byte* line) { __builtin_prefetch(line, 0, 2); }

  std::size_t bytes_;
  bool straddles_;  // rows may end in one line more than they fill
  std::size_t ahead_;
};

// Walks the rows that a list of local ids names, prefetching ahead of where it stands.
class RowWalk {
 public:
  // ids: nullptr names every row
  RowWalk(const TieredRows& rows, const std::uint32_t* ids, std::size_t first, std::size_t last)
      : find_(rows), ids_(ids), resolved_(first), last_(last), prefetch_(rows) {}

  // Makes rows up to `index` available to row(). Indices ascend, by at most run_edges_max a call.
  HWY_INLINE void advance_to(std::size_t index) {
    const std::size_t until = std::min(last_, index + prefetch_.ahead());
    for (; resolved_ < until; ++resolved_) {
      const std::byte* row = find_(ids_ != nullptr ? ids_[resolved_] : static_cast<std::uint32_t>(resolved_));
      ring_[resolved_ % ring_size] = row;
      prefetch_(row);
    }
  }
  HWY_INLINE const std::byte* row(std::size_t index) const { return ring_[index % ring_size]; }

 private:
  RowFinder find_;
  const std::uint32_t* ids_;
  std::size_t resolved_;
  std::size_t last_;
  RowPrefetch prefetch_;
  std::array<const std::byte*, ring_size> ring_{};
};

// The same over rows that lie in one memory, in order: hidden layers, exact inference, no cache.
class DenseRowWalk {
 public:
  static bool fits(const TieredRows& rows) {
    return rows.range_count() == 1 && rows.range(0).slots == nullptr;
  }
  DenseRowWalk(const TieredRows& rows, const std::uint32_t* ids, std::size_t first, std::size_t last)
      : base_(rows.range(0).base),
        slot_bytes_(rows.range(0).slot_bytes),
        ids_(ids),
        asked_(first),
        last_(last),
        prefetch_(rows) {}

  HWY_INLINE void advance_to(std::size_t index) {
    const std::size_t until = std::min(last_, index + prefetch_.ahead());
    for (; asked_ < until; ++asked_) prefetch_(row(asked_));
  }
  HWY_INLINE const std::byte* row(std::size_t index) const {
    return base_ +
           std::size_t{ids_ != nullptr ? ids_[index] : static_cast<std::uint32_t>(index)} * slot_bytes_;
  }

 private:
  const std::byte* base_;
  std::size_t slot_bytes_;
  const std::uint32_t* ids_;
  std::size_t asked_;
  std::size_t last_;
  RowPrefetch prefetch_;
};

// Calls use<Load, Walk>() with what reads these rows' values and what walks over them.
template <class Use>
void with_rows(const TieredRows& rows, const Use& use) {
  const auto with_load = [&]<class Load>() HWY_ATTR {
    if (DenseRowWalk::fits(rows)) return use.template operator()<Load, DenseRowWalk>();
    return use.template operator()<Load, RowWalk>();
  };
  switch (rows.dtype()) {
    case Dtype::f16:
      return with_load.template operator()<LoadF16>();
    case Dtype::bf16:
      return with_load.template operator()<LoadBf16>();
    default:
      return with_load.template operator()<LoadF32>();
  }
}

// What each row of a sum is multiplied by.
struct NoFactors {
  static HWY_INLINE FloatVector add(FloatVector sum, FloatVector row, std::size_t) {
    return hn::Add(sum, row);
  }
};
struct RowFactors {
  const float* factors;  // of the run's rows, the first one's first
  HWY_INLINE FloatVector add(FloatVector sum, FloatVector row, std::size_t index) const {
    return hn::MulAdd(row, hn::Set(Floats(), factors[index]), sum);
  }
};
struct StridedFactors {
  const float* factors;
  std::size_t stride;  // from one row's factor to the next one's
  HWY_INLINE FloatVector add(FloatVector sum, FloatVector row, std::size_t index) const {
    return hn::MulAdd(row, hn::Set(Floats(), factors[index * stride]), sum);
  }
};

// Sums columns [column, column + Vectors * lanes) of rows [first, last) in registers.
// `walk`: gives a row for an index.
template <class Load, std::size_t Vectors, class Walk, class Factors>
HWY_INLINE void sum_tile(const Walk& walk, Factors factors, std::size_t first, std::size_t last,
                         std::size_t column, bool continues, float scale, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  FloatVector sums[Vectors];
  for (std::size_t v = 0; v < Vectors; ++v) {
    sums[v] = continues ? hn::LoadU(d, out + column + v * lanes) : hn::Zero(d);
  }
  for (std::size_t i = first; i < last; ++i) {
    const std::byte* row = walk.row(i);
    for (std::size_t v = 0; v < Vectors; ++v) {
      sums[v] = factors.add(sums[v], Load::full(row, column + v * lanes), i - first);
    }
  }
  for (std::size_t v = 0; v < Vectors; ++v) {
    hn::StoreU(hn::Mul(sums[v], hn::Set(d, scale)), d, out + column + v * lanes);
  }
}

template <class Load, class Walk, class Factors>
void sum_rows(const Walk& walk, Factors factors, std::size_t first, std::size_t last, std::size_t columns,
              bool continues, float scale, float* out) {
  const Floats d;
  const std::size_t lanes = lane_count();
  std::size_t column = 0;
  for (; column + 8 * lanes <= columns; column += 8 * lanes) {
    sum_tile<Load, 8>(walk, factors, first, last, column, continues, scale, out);
  }
  if (column + 4 * lanes <= columns) {
    sum_tile<Load, 4>(walk, factors, first, last, column, continues, scale, out);
    column += 4 * lanes;
  }
  for (; column + lanes <= columns; column += lanes) {
    sum_tile<Load, 1>(walk, factors, first, last, column, continues, scale, out);
  }
  if (const std::size_t rest = columns - column; rest != 0) {
    FloatVector sum = continues ? load_tail(out + column, rest) : hn::Zero(d);
    for (std::size_t i = first; i < last; ++i) {
      sum = factors.add(sum, Load::tail(walk.row(i), column, rest), i - first);
    }
    store_tail(hn::Mul(sum, hn::Set(d, scale)), out + column, rest);
  }
}

}  // namespace gneiss::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
