#include "sampler/budget_table.h"

namespace gneiss {

void explore_budgets(const Dataset& dataset, const PreparationOptions& options, const BatchSchedule& schedule,
                     const InputLists& lists, const BatchCounts& counts, std::uint64_t read_gap_bytes,
                     const std::function<void(const BudgetChoice&)>& show) {
  const auto features =
      static_cast<double>(dataset.info().node_count) * static_cast<double>(dataset.info().row_bytes());
  std::uint64_t largest_space = 0;
  for (const double cache_share : budget_cache_shares) {
    PreparationOptions chosen = options;
    chosen.cpu_cache_bytes = static_cast<std::uint64_t>(cache_share * features);
    PreparationPlanner planner(dataset, chosen, schedule, lists, counts);
    planner.choose_residency();
    for (const double disk_share : budget_disk_shares) {
      const auto budget = static_cast<std::uint64_t>(disk_share * static_cast<double>(largest_space));
      planner.fit_disk_budget(budget, read_gap_bytes);
      const PreparationCost cost = planner.cost();
      if (largest_space == 0) largest_space = cost.disk_space_bytes();
      show({.cpu_cache_bytes = chosen.cpu_cache_bytes,
            .disk_budget_bytes = budget,
            .fits = budget == 0 || cost.disk_space_bytes() <= budget,
            .cost = cost});
    }
  }
}

}  // namespace gneiss
