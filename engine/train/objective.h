// What a run learns and by what it is judged: the loss over the labels, and the metric that picks the best
// epoch.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/nn/loss.h"
#include "engine/train/scores.h"
#include "storage/format/dataset.h"
#include "storage/format/preparation.h"

namespace gneiss {

enum class Task : std::uint8_t {
  multi_class,  // one of several classes: softmax cross-entropy, accuracy
  multi_label,  // columns of yes and no: binary cross-entropy, ROC-AUC
  binary,       // one column of them, or two classes as one: one logit
};

Task parse_task(std::string_view name);  // multi-class | multi-label | binary; throws Error(config)
std::string_view name_of(Task task) noexcept;

struct ObjectiveOptions {
  std::optional<Task> task{};          // none: the labels' own
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

//   split_seeds  of the largest epoch or split whose scores it holds
ScoreSum make_score_sum(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                        std::uint64_t split_seeds);
// What the loss holds, where it computes, and what scores hold, on the host.
//   batch_seeds, split_seeds  of the largest batch, and of the largest epoch or split
std::uint64_t loss_bytes(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                         std::uint64_t batch_seeds);
std::uint64_t score_bytes(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                          std::uint64_t split_seeds);

}  // namespace gneiss
