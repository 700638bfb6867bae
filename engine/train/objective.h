// What a run learns and by what it is judged: the loss over the labels, and the metric that picks the best
// epoch.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/nn/loss.h"
#include "engine/train/scores.h"
#include "storage/format/dataset.h"

namespace gneiss {

struct ObjectiveOptions {
  std::optional<Metric> metric{};      // none: the task's own
  std::string class_weights = "none";  // none, balanced, or one weight a class: "1,2,0.5"
  float label_smoothing = 0;
};

// With every default filled in. Throws Error(config) for options that do not fit the labels, or each other.
ObjectiveOptions resolve_objective(const ObjectiveOptions& options, const DatasetInfo& dataset);

// How many logits a seed has.
std::uint32_t logit_columns(const ObjectiveOptions& resolved, const DatasetInfo& dataset);

// Reads the training nodes' labels where class weights follow from them.
std::unique_ptr<Loss> make_loss(const ObjectiveOptions& resolved, const Dataset& dataset, Backend& backend,
                                std::uint32_t seed_count_max);

}  // namespace gneiss
