// Plan + tiers → the first layer's input: a view, nothing is copied.
#pragma once

#include "engine/compute/tiered_rows.h"
#include "engine/tiers/cpu_tier.h"
#include "engine/tiers/tier_base.h"
#include "storage/format/batch_frame.h"

namespace gneiss {

// The input rows of a batch, in local order, over the tiers in memory and the batch's segment. Range i of the
// result is range i of the plan: the gpu tier's is the first, where the preparation has one.
//   gpu_tier    its rows are pointed to and never read here: they may lie in device memory
//   segment     what was read for the batch: its own rows first, or the pages that hold those it shares
//   page_slots  scratch, one for each row of the page tier; borrowed by the result
// Throws Error(corruption) naming `name` when the plan asks for what the tiers do not hold.
TieredRows assemble_rows(const BatchFrame& frame, TierBase gpu_tier, const CpuTier& cpu_tier,
                         std::span<const std::byte> segment, std::span<std::uint32_t> page_slots, Dtype dtype,
                         std::uint32_t columns, std::string_view name);

}  // namespace gneiss
