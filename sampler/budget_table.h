// What other budgets would buy: an epoch's reads by memory for the cpu tier and space on the drive.
//
// Why:     before days of preparation, which of memory and disk is worth more of. Nothing is estimated: each
//          choice is planned and laid out as it would be, and not written.
// Time:    a plan for each cpu cache, and a layout for each budget that its own segments do not fit.
#pragma once

#include <array>
#include <functional>

#include "sampler/plan_preparation.h"

namespace gneiss {

struct BudgetChoice {
  std::uint64_t cpu_cache_bytes = 0;
  std::uint64_t disk_budget_bytes = 0;  // 0: as much as it takes
  bool fits = true;                     // with the batches in the largest groups at the least
  PreparationCost cost;
};

// Of all features; and of the space that the preparation takes without a cache and without a budget, where
// the first column, 0, stands for as much as it takes.
inline constexpr std::array<double, 5> budget_cache_shares{0, 0.05, 0.1, 0.2, 0.4};
inline constexpr std::array<double, 3> budget_disk_shares{0, 0.5, 0.25};

// Calls `show` for each choice, the drive's budgets of one cpu cache after another.
void explore_budgets(const Dataset& dataset, const PreparationOptions& options, const BatchSchedule& schedule,
                     const InputLists& lists, const BatchCounts& counts, std::uint64_t read_gap_bytes,
                     const std::function<void(const BudgetChoice&)>& show);

}  // namespace gneiss
