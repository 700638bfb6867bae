// A small dataset and a preparation of it, opened as training opens them.
#pragma once

#include <memory>
#include <vector>

#include "engine/pipeline/pipelined_source.h"
#include "engine/tiers/cpu_tier.h"
#include "engine/tiers/host_gpu_tier.h"
#include "storage/format/preparation.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

// Prepares `folder` under `name`, as `gneiss prepare --force` would.
void prepare_dataset(const std::filesystem::path& folder, const std::string& name,
                     const PreparationOptions& options, std::uint64_t disk_budget_bytes = 0);

// These batches, one after the other.
BatchSchedulePlan plan_of(std::vector<std::size_t> order);

// Features of any bit pattern: for tests of what is read, not of what is computed.
class PreparedDataset {
 public:
  explicit PreparedDataset(const PreparationOptions& options = {}, const SmallDatasetOptions& graph = {},
                           std::uint64_t disk_budget_bytes = 0);

  const SmallDataset& source() const noexcept { return source_; }
  const Dataset& dataset() const noexcept { return *dataset_; }
  const Preparation& preparation() const noexcept { return *preparation_; }
  TierBase gpu_tier() const noexcept { return gpu_tier_->base(); }
  CpuTier& cpu_tier() const noexcept { return *cpu_tier_; }
  std::filesystem::path file(const char* name) const;  // of the preparation

 private:
  TemporaryFolder folder_;
  SmallDataset source_;
  std::unique_ptr<Dataset> dataset_;
  std::unique_ptr<Preparation> preparation_;
  std::unique_ptr<HostGpuTier> gpu_tier_;
  std::unique_ptr<CpuTier> cpu_tier_;
};

}  // namespace gneiss::test
