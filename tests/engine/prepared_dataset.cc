#include "tests/engine/prepared_dataset.h"

#include "sampler/prepare.h"

namespace gneiss::test {

void prepare_dataset(const std::filesystem::path& folder, const std::string& name,
                     const PreparationOptions& options, std::uint64_t disk_budget_bytes) {
  Dataset dataset = Dataset::open(folder, Catalog::Access::write);
  ThreadPool pool(2);
  prepare(dataset,
          {.name = name,
           .options = options,
           .memory_bytes = 1ULL << 30,
           .disk_budget_bytes = disk_budget_bytes,
           .force = true},
          pool, [](const PreparationCost&) {});
}

BatchSchedulePlan plan_of(std::vector<std::size_t> order) {
  return [order = std::move(order)](std::uint64_t position) -> std::optional<std::size_t> {
    if (position >= order.size()) return std::nullopt;
    return order[position];
  };
}

PreparedDataset::PreparedDataset(const PreparationOptions& options, const SmallDatasetOptions& graph,
                                 std::uint64_t disk_budget_bytes)
    : source_(write_small_dataset(folder_ / "d.gneiss", graph)) {
  prepare_dataset(source_.folder, "p", options, disk_budget_bytes);
  dataset_ = std::make_unique<Dataset>(Dataset::open(source_.folder));
  preparation_ = std::make_unique<Preparation>(Preparation::open(*dataset_, "p"));
  gpu_tier_ = std::make_unique<HostGpuTier>(*preparation_);
  cpu_tier_ = std::make_unique<CpuTier>(*preparation_);
}

std::filesystem::path PreparedDataset::file(const char* name) const {
  return preparation_folder(*dataset_, "p") / name;
}

}  // namespace gneiss::test
