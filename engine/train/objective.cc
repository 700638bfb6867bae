#include "engine/train/objective.h"

#include "engine/nn/cross_entropy.h"
#include "engine/train/class_weights.h"

namespace gneiss {

ObjectiveOptions resolve_objective(const ObjectiveOptions& options, const DatasetInfo& dataset) {
  check_cross_entropy({.class_weights = parse_class_weights(options.class_weights),
                       .label_smoothing = options.label_smoothing},
                      dataset.class_count);
  ObjectiveOptions resolved = options;
  resolved.metric = options.metric.value_or(Metric::accuracy);
  return resolved;
}

std::uint32_t logit_columns(const ObjectiveOptions& /*resolved*/, const DatasetInfo& dataset) {
  return dataset.class_count;
}

std::unique_ptr<Loss> make_loss(const ObjectiveOptions& resolved, const Dataset& dataset, Backend& backend,
                                std::uint32_t seed_count_max) {
  return std::make_unique<CrossEntropy>(
      backend, seed_count_max, dataset.info().class_count,
      CrossEntropyOptions{.class_weights = resolve_class_weights(resolved.class_weights, dataset),
                          .label_smoothing = resolved.label_smoothing});
}

}  // namespace gneiss
