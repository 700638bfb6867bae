#include "engine/train/memory_plan.h"

#include <algorithm>

#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// Code, libraries, the catalog and thread stacks: measured at 35 to 45 MiB.
constexpr std::uint64_t program_bytes = 48ULL << 20;
constexpr std::uint32_t slot_count_min = 2;  // one read while one is computed

std::uint32_t saturate(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, 0xFFFFFFFFU));
}

}  // namespace

std::vector<BlockMaxima> block_maxima(const Preparation& preparation) {
  const auto& fanouts = preparation.info().options.fanouts;
  std::uint64_t seeds = 0;
  std::uint64_t hidden = 0;
  std::uint64_t inputs = 0;
  std::uint64_t edges = 0;
  for (const BatchEntry& entry : preparation.pool().entries()) {
    seeds = std::max<std::uint64_t>(seeds, entry.seed_count);
    hidden = std::max<std::uint64_t>(hidden, entry.hidden_count);
    inputs = std::max<std::uint64_t>(inputs, entry.input_count);
    edges = std::max<std::uint64_t>(edges, entry.edge_count);
  }
  std::vector<BlockMaxima> maxima(fanouts.size());
  // From the seeds inwards: a hop adds at most fanout sources a destination, and no more than the next
  // known count.
  std::uint64_t destinations = seeds;
  for (std::size_t hop = 0; hop < fanouts.size(); ++hop) {
    BlockMaxima& block = maxima[fanouts.size() - 1 - hop];
    const bool next_to_input = hop + 1 == fanouts.size();
    const std::uint64_t most_edges =
        fanouts[hop] < 0 ? edges : std::min(edges, destinations * static_cast<std::uint64_t>(fanouts[hop]));
    const std::uint64_t sources = std::min(next_to_input ? inputs : hidden, destinations + most_edges);
    block = {.dst_count = saturate(destinations),
             .src_count = saturate(sources),
             .edge_count = saturate(most_edges)};
    destinations = sources;
  }
  return maxima;
}

MemoryPlan plan_memory(const Preparation& preparation, std::uint64_t model_bytes, std::uint64_t budget_bytes,
                       std::uint32_t slot_count_max) {
  MemoryPlan plan;
  const SectionEntry& cpu_rows = preparation.cpu_tier().require(SectionKind::feature_rows);
  // With rows exchanged: a slot's move, and a bit.
  const std::uint64_t bytes_per_slot = preparation.info().planned == Residency::belady ? 5 : 0;
  plan.cpu_tier_bytes =
      preparation.cpu_slot_count() * (cpu_rows.columns * size_of(cpu_rows.dtype) + bytes_per_slot);
  plan.model_bytes = model_bytes;
  plan.slot_bytes = slot_sizes(preparation).bytes();
  plan.index_bytes = preparation.pool().entries().size_bytes() + preparation.pack().entries().size_bytes();
  plan.program_bytes = program_bytes;
  plan.slot_count = slot_count_min;
  if (plan.total_bytes() > budget_bytes) {
    fail(Kind::config,
         "--memory {} is too little: {} would do (cpu tier {}, model {}, {} batches in flight of {} each); "
         "prepare with a smaller --cpu-cache or --batch-size, or give more",
         format_bytes(static_cast<double>(budget_bytes)), format_bytes_up(plan.total_bytes()),
         format_bytes(static_cast<double>(plan.cpu_tier_bytes)),
         format_bytes(static_cast<double>(plan.model_bytes)), slot_count_min,
         format_bytes(static_cast<double>(plan.slot_bytes)));
  }
  while (plan.slot_count < slot_count_max && plan.total_bytes() + plan.slot_bytes <= budget_bytes)
    ++plan.slot_count;
  return plan;
}

}  // namespace gneiss
