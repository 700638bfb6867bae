#include "bench/step/held_batches.h"

#include "storage/base/error.h"

namespace gneiss::step {

HeldBatches::HeldBatches(const Dataset& dataset, const Preparation& preparation, CpuTier& cpu_tier,
                         TierBase gpu_tier, std::uint32_t count) {
  if (cpu_tier.is_exchanged()) {
    fail(Kind::config, "rows of preparation '{}' come and go; prepare with --residency static",
         preparation.name());
  }
  if (count == 0 || count > preparation.info().train_batches_per_epoch) {
    fail(Kind::config, "--batches {} is not possible; preparation '{}' has {} training batches an epoch",
         count, preparation.name(), preparation.info().train_batches_per_epoch);
  }
  PipelineOptions options;
  options.slot_count = 1;
  options.gpu_tier = gpu_tier;
  for (std::uint32_t batch = 0; batch < count; ++batch) {
    const std::size_t index = preparation.pool().find({.split = Split::train, .batch = batch});
    sources_.push_back(
        std::make_unique<PipelinedSource>(preparation, dataset.info(), cpu_tier, options,
                                          [index](std::uint64_t position) -> std::optional<std::size_t> {
                                            if (position > 0) return std::nullopt;
                                            return index;
                                          }));
    batches_.push_back(sources_.back()->next());
    GNEISS_ASSERT(batches_.back() != nullptr);
  }
}

}  // namespace gneiss::step
