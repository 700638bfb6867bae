#include "engine/train/memory_plan.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

constexpr std::uint32_t slot_count_min = 2;  // one read while one is computed

std::uint32_t saturate(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xFFFFFFFFU));
}

// What few runs have.
std::string others_text(const MemoryNeeds& needs) {
  std::string text;
  if (needs.evaluation_bytes > 0) {
    text += fmt::format(", exact evaluation {}", format_bytes(static_cast<double>(needs.evaluation_bytes)));
  }
  if (needs.device_bytes > 0) {
    text += fmt::format(", the device's runtime {}", format_bytes(static_cast<double>(needs.device_bytes)));
  }
  return text;
}

}  // namespace

std::vector<BlockMaxima> block_maxima(std::span<const std::int32_t> fanouts, const PoolMaxima& pool) {
  std::vector<BlockMaxima> maxima(fanouts.size());
  // From the seeds inwards: a hop adds at most fanout sources a destination, and no more than the next
  // known count.
  std::uint64_t destinations = pool.seed_count;
  for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
    BlockMaxima& block = maxima[fanouts.size() - 1 - hop];
    const bool next_to_input = hop + 1 == fanouts.size();
    const std::uint64_t most_edges =
        fanouts[hop] < 0 ? pool.edge_count
                         : std::min(pool.edge_count, destinations * static_cast<std::uint64_t>(fanouts[hop]));
    const std::uint64_t sources =
        std::min(next_to_input ? pool.input_count : pool.hidden_count, destinations + most_edges);
    block = {.dst_count = saturate(destinations),
             .src_count = saturate(sources),
             .edge_count = saturate(most_edges)};
    destinations = sources;
  }
  return maxima;
}

std::vector<BlockMaxima> block_maxima(const Preparation& preparation) {
  return block_maxima(preparation.info().options.fanouts, maxima_of(preparation.pool().entries()));
}

std::uint64_t cpu_tier_memory(std::uint64_t slots, std::uint64_t row_bytes, Residency residency) {
  // With rows exchanged: a slot's move, and a bit.
  return slots * (row_bytes + (residency == Residency::belady ? 5 : 0));
}

std::uint64_t extent_memory(std::uint64_t extents) { return 2 * sizeof(Extent) * extents; }

MemoryNeeds memory_needs(const Preparation& preparation, std::uint64_t model_bytes) {
  const SectionEntry& cpu_rows = preparation.cpu_tier().require(SectionKind::feature_rows);
  const std::uint64_t row_bytes = cpu_rows.columns * size_of(cpu_rows.dtype);
  const PackFile& pack = preparation.pack();
  std::uint64_t extents = 0;
  for (std::size_t i = 0; pack.is_shared() && i < pack.entries().size(); ++i)
    extents += pack.extents(i).size();
  return {
      .gpu_tier_bytes = preparation.gpu_row_count() * row_bytes,
      .cpu_tier_bytes = cpu_tier_memory(preparation.cpu_slot_count(), row_bytes, preparation.info().planned),
      .model_bytes = model_bytes,
      .slot_bytes = slot_sizes(preparation).bytes(),
      .index_bytes =
          preparation.pool().entries().size_bytes() + pack.entries().size_bytes() + extent_memory(extents)};
}

std::string gpu_tier_text(const MemoryNeeds& needs) {
  if (needs.gpu_tier_bytes == 0) return "";
  return fmt::format("gpu tier {} in host memory, ", format_bytes(static_cast<double>(needs.gpu_tier_bytes)));
}

MemoryPlan plan_memory(const MemoryNeeds& needs, std::uint64_t budget_bytes, std::uint32_t slot_count_max) {
  MemoryPlan plan{needs};
  plan.program_bytes = program_memory_bytes;
  plan.slot_count = slot_count_min;
  if (plan.total_bytes() > budget_bytes) {
    fail(Kind::config,
         "--memory {} is too little: {} would do ({}cpu tier {}, model {}, {} batches in flight of {} "
         "each{}); "
         "prepare with a smaller {}--cpu-cache or --batch-size, or give more",
         format_bytes(static_cast<double>(budget_bytes)), format_bytes_up(plan.total_bytes()),
         gpu_tier_text(plan), format_bytes(static_cast<double>(plan.cpu_tier_bytes)),
         format_bytes(static_cast<double>(plan.model_bytes)), slot_count_min,
         format_bytes(static_cast<double>(plan.slot_bytes)), others_text(plan),
         plan.gpu_tier_bytes == 0 ? "" : "--gpu-cache, ");
  }
  while (plan.slot_count < slot_count_max && plan.total_bytes() + plan.slot_bytes <= budget_bytes)
    ++plan.slot_count;
  return plan;
}

}  // namespace gneiss
