#include "engine/tiers/assemble.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {
namespace {

// Writes where each row of the runs lies. Throws Error(corruption) unless all lie in `bytes` bytes.
void spread_runs(std::span<const PageRun> runs, std::uint64_t row_bytes, std::uint64_t bytes,
                 std::span<std::uint32_t> slots, std::string_view name) {
  const std::uint64_t unit = page_row_unit(row_bytes);
  const std::uint64_t units_per_row = row_bytes / unit;
  std::size_t filled = 0;
  for (const PageRun& run : runs) {
    const std::uint64_t end = run.position + run.count * units_per_row;
    if (end * unit > bytes || end > 0xFFFFFFFFU || run.count > slots.size() - filled) {
      fail(Kind::corruption, "{}: a shared row lies beyond what was read; prepare it again", name);
    }
    auto at = run.position;
    for (std::uint32_t i = 0; i < run.count; ++i, at += static_cast<std::uint32_t>(units_per_row)) {
      slots[filled++] = at;
    }
  }
}

// Throws Error(corruption) unless every slot is one of the tier's.
void check_slots(std::span<const std::uint32_t> slots, std::uint64_t row_count, std::string_view tier,
                 std::string_view name) {
  std::uint32_t greatest = 0;  // a plain loop: it becomes vector code
  for (const std::uint32_t slot : slots) greatest = std::max(greatest, slot);
  if (slots.empty() || greatest < row_count) return;
  fail(Kind::corruption, "{}: the plan asks for row {} of the {} tier, which has {}; prepare it again", name,
       greatest, tier, row_count);
}

}  // namespace

TieredRows assemble_rows(const BatchFrame& frame, TierBase gpu_tier, const CpuTier& cpu_tier,
                         std::span<const std::byte> segment, std::span<std::uint32_t> page_slots, Dtype dtype,
                         std::uint32_t columns, std::string_view name) {
  TieredRows rows(dtype, columns);
  if (frame.plan.size() > tier_range_count_max || frame.plan.empty()) {
    fail(Kind::corruption, "{}: the plan has {} ranges; prepare it again", name, frame.plan.size());
  }
  check_slots(frame.gpu_slots, gpu_tier.row_count, "gpu", name);
  check_slots(frame.cpu_slots, cpu_tier.row_count(), "cpu", name);
  for (const std::uint32_t slot : frame.admitted_slots) {
    if (slot < cpu_tier.row_count()) continue;
    fail(Kind::corruption,
         "{}: the plan puts a row into slot {} of the cpu tier, which has {}; prepare it "
         "again",
         name, slot, cpu_tier.row_count());
  }
  const std::uint32_t* gpu_slots = frame.gpu_slots.data();
  const std::uint32_t* cpu_slots = frame.cpu_slots.data();
  std::uint64_t segment_at = 0;
  for (const PlanRange& range : frame.plan) {
    if (range.store != 0) {
      fail(Kind::input,
           "{}: the plan names feature store {}, tier {}, which this program does not know; use a newer "
           "gneiss",
           name, range.store, static_cast<int>(range.tier));
    }
    if (range.tier == Tier::gpu) {
      rows.append(gpu_tier.rows, range.count, gpu_slots);
      gpu_slots += range.count;
      continue;
    }
    if (range.tier == Tier::cpu) {
      rows.append(cpu_tier.rows(), range.count, cpu_slots);
      cpu_slots += range.count;
      continue;
    }
    if (range.tier == Tier::page) {
      if (range.count > page_slots.size()) {
        fail(Kind::corruption, "{}: it has more shared rows than its index says; prepare it again", name);
      }
      spread_runs(frame.page_runs, rows.row_bytes(), segment.size(), page_slots.first(range.count), name);
      rows.append(segment.data(), range.count, page_slots.data(), page_row_unit(rows.row_bytes()));
      continue;
    }
    if (range.count * rows.row_bytes() > segment.size() - segment_at) {
      fail(Kind::corruption, "{}: the plan asks for more rows than the segment has; prepare it again", name);
    }
    rows.append(segment.data() + segment_at, range.count);
    segment_at += range.count * rows.row_bytes();
  }
  return rows;
}

}  // namespace gneiss
