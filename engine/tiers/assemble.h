// Plan + tiers → the first layer's input: a view, nothing is copied.
#pragma once

#include "engine/compute/tiered_rows.h"
#include "engine/tiers/cpu_tier.h"
#include "storage/format/batch_frame.h"

namespace gneiss {

// The input rows of a batch, in local order, over the cpu tier and the batch's segment.
//   segment     what was read for the batch: its own rows first, or the pages that hold those it shares
//   page_slots  scratch, one for each row of the page tier; borrowed by the result
// Throws Error(corruption) naming `name` when the plan asks for what the tiers do not hold.
TieredRows assemble_rows(const BatchFrame& frame, const CpuTier& cpu_tier, std::span<const std::byte> segment,
                         std::span<std::uint32_t> page_slots, Dtype dtype, std::uint32_t columns,
                         std::string_view name);

}  // namespace gneiss
