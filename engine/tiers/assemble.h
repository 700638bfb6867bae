// Plan + tiers → the first layer's input: a view, nothing is copied.
#pragma once

#include "engine/compute/tiered_rows.h"
#include "engine/tiers/cpu_tier.h"
#include "storage/format/batch_frame.h"

namespace gneiss {

// The input rows of a batch, in local order, over the cpu tier and the batch's segment.
//   segment  the batch's checked segment; its first rows are the disk tier's
// Throws Error(corruption) naming `name` when the plan asks for what the tiers do not hold.
TieredRows assemble_rows(const BatchFrame& frame, const CpuTier& cpu_tier, std::span<const std::byte> segment,
                         Dtype dtype, std::uint32_t columns, std::string_view name);

}  // namespace gneiss
