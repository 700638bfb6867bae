#include "engine/tiers/assemble.h"

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {

TieredRows assemble_rows(const BatchFrame& frame, const CpuTier& cpu_tier, std::span<const std::byte> segment,
                         Dtype dtype, std::uint32_t columns, std::string_view name) {
  TieredRows rows(dtype, columns);
  if (frame.plan.size() > tier_range_count_max || frame.plan.empty()) {
    fail(Kind::corruption, "{}: the plan has {} ranges; prepare it again", name, frame.plan.size());
  }
  std::uint32_t greatest_slot = 0;
  for (const std::uint32_t slot : frame.cpu_slots) greatest_slot = std::max(greatest_slot, slot);
  if (!frame.cpu_slots.empty() && greatest_slot >= cpu_tier.row_count()) {
    fail(Kind::corruption, "{}: the plan asks for row {} of the cpu tier, which has {}; prepare it again",
         name, greatest_slot, cpu_tier.row_count());
  }
  for (const std::uint32_t slot : frame.admitted_slots) {
    if (slot < cpu_tier.row_count()) continue;
    fail(Kind::corruption,
         "{}: the plan puts a row into slot {} of the cpu tier, which has {}; prepare it "
         "again",
         name, slot, cpu_tier.row_count());
  }
  const std::uint32_t* slots = frame.cpu_slots.data();
  std::uint64_t segment_at = 0;
  for (const PlanRange& range : frame.plan) {
    if (range.store != 0 || (range.tier != Tier::cpu && range.tier != Tier::disk)) {
      fail(Kind::input,
           "{}: the plan names feature store {}, tier {}, which this program does not know; use a newer "
           "gneiss",
           name, range.store, static_cast<int>(range.tier));
    }
    if (range.tier == Tier::cpu) {
      rows.append(cpu_tier.rows(), range.count, slots);
      slots += range.count;
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
