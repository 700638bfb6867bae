#include "tools/foreseen_memory.h"

#include <limits>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/train/best_model.h"
#include "engine/train/trainer.h"

namespace gneiss {

MemoryPlan foresee_training_memory(const Dataset& dataset, const PreparationOptions& options,
                                   const PreparationCost& cost) {
  const TrainOptions train;
  const ObjectiveOptions objective = resolve_objective(train.objective, dataset.info());
  ThreadPool pool(1);
  const auto backend = make_cpu_backend(pool);
  const ModelOptions model{.feature_columns = dataset.info().feature_dim,
                           .hidden_columns = train.hidden,
                           .class_count = logit_columns(objective, dataset.info()),
                           .layer_count = static_cast<std::uint32_t>(options.fanouts.size()),
                           .activation = train.activation,
                           .dropout = train.dropout,
                           .head_count = train.head_count,
                           .aggregator = train.aggregator,
                           .residual = train.residual,
                           .norm = train.norm,
                           .seed = 0};
  const std::uint64_t batches = options.sample_epochs * cost.train_batches + cost.evaluation_batches;
  const MemoryNeeds needs{
      .gpu_tier_bytes = cost.gpu_tier_bytes,
      .cpu_tier_bytes = cpu_tier_memory(cost.cached_rows, cost.row_bytes, cost.residency),
      .model_bytes = model_bytes(train.model, *backend, model, block_maxima(options.fanouts, cost.largest)) +
                     product_bytes(train.model, *backend, model) +
                     loss_bytes(objective, dataset.info(), cost.largest.seed_count) +
                     score_bytes(objective, dataset.info(), cost.largest_split) +
                     BestModel::bytes(parameter_count(train.model, model)),
      .slot_bytes = slot_sizes(options.fanouts.size(), cost.largest, cost.largest_segment_bytes).bytes(),
      .index_bytes =
          batches * (sizeof(BatchEntry) + sizeof(SegmentEntry)) + extent_memory(cost.shared_extents)};
  return plan_memory(needs, std::numeric_limits<std::uint64_t>::max(), train.pipeline.slot_count);
}

}  // namespace gneiss
