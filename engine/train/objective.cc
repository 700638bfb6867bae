#include "engine/train/objective.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "engine/nn/binary_cross_entropy.h"
#include "engine/nn/cross_entropy.h"
#include "engine/train/class_weights.h"
#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::array all_tasks{Task::multi_class, Task::multi_label, Task::binary};

void check_task(Task task, const DatasetInfo& dataset) {
  const std::uint32_t columns = dataset.label_columns;
  switch (task) {
    case Task::multi_class:
      if (columns == 0) return;
      fail(Kind::config,
           "--task multi-class: the dataset has {} columns of labels, not a class a node; use multi-label",
           columns);
    case Task::multi_label:
      if (columns > 0) return;
      fail(Kind::config,
           "--task multi-label: the dataset has one class a node; import labels of several columns, or use "
           "multi-class");
    case Task::binary:
      if (columns == 1 || (columns == 0 && dataset.class_count == 2)) return;
      fail(Kind::config,
           "--task binary needs one column of labels or two classes, the dataset has {} {}; use {}",
           columns > 0 ? columns : dataset.class_count, columns > 0 ? "columns" : "classes",
           columns > 0 ? "multi-label" : "multi-class");
  }
}

void check_loss(const ObjectiveOptions& options, const DatasetInfo& dataset) {
  const std::vector<float> weights = parse_class_weights(options.class_weights);
  if (*options.task == Task::multi_class) {
    check_cross_entropy({.class_weights = weights, .label_smoothing = options.label_smoothing},
                        dataset.class_count);
    return;
  }
  if (options.class_weights != "none" || options.label_smoothing != 0) {
    fail(Kind::config,
         "--class-weights and --label-smoothing are of the loss over classes; leave them out with --task {}",
         name_of(*options.task));
  }
}

Predictions predictions_of(const ObjectiveOptions& resolved) {
  return *resolved.task == Task::multi_class ? Predictions::classes : Predictions::yes_or_no;
}

}  // namespace

Task parse_task(std::string_view name) {
  for (const Task task : all_tasks) {
    if (name == name_of(task)) return task;
  }
  fail(Kind::config, "there is no task '{}'; use multi-class, multi-label or binary", name);
}

std::string_view name_of(Task task) noexcept {
  switch (task) {
    case Task::multi_class:
      return "multi-class";
    case Task::multi_label:
      return "multi-label";
    case Task::binary:
      return "binary";
  }
  return "";
}

ObjectiveOptions resolve_objective(const ObjectiveOptions& options, const DatasetInfo& dataset) {
  ObjectiveOptions resolved = options;
  resolved.task = options.task.value_or(dataset.label_columns > 0 ? Task::multi_label : Task::multi_class);
  check_task(*resolved.task, dataset);
  const bool is_multi_class = *resolved.task == Task::multi_class;
  resolved.metric = options.metric.value_or(is_multi_class ? Metric::accuracy : Metric::rocauc);
  if (is_multi_class && *resolved.metric == Metric::rocauc) {
    fail(Kind::config, "--metric rocauc is of labels of yes and no; use accuracy or f1{}",
         dataset.class_count == 2 ? ", or --task binary" : "");
  }
  check_loss(resolved, dataset);
  return resolved;
}

std::uint32_t logit_columns(const ObjectiveOptions& resolved, const DatasetInfo& dataset) {
  switch (*resolved.task) {
    case Task::multi_class:
      return dataset.class_count;
    case Task::multi_label:
      return dataset.label_columns;
    case Task::binary:
      return 1;
  }
  return 0;
}

std::unique_ptr<Loss> make_loss(const ObjectiveOptions& resolved, const Dataset& dataset, Backend& backend,
                                std::uint32_t seed_count_max) {
  const std::uint32_t columns = logit_columns(resolved, dataset.info());
  if (*resolved.task != Task::multi_class) {
    return std::make_unique<BinaryCrossEntropy>(backend, seed_count_max, columns);
  }
  return std::make_unique<CrossEntropy>(
      backend, seed_count_max, columns,
      CrossEntropyOptions{.class_weights = resolve_class_weights(resolved.class_weights, dataset),
                          .label_smoothing = resolved.label_smoothing});
}

ScoreSum make_score_sum(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                        std::uint64_t split_seeds) {
  return {predictions_of(resolved), logit_columns(resolved, dataset), split_seeds};
}

std::uint64_t loss_bytes(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                         std::uint64_t batch_seeds) {
  // A batch's gradient, and classes' weights.
  return (batch_seeds + 1) * logit_columns(resolved, dataset) * sizeof(float);
}

std::uint64_t score_bytes(const ObjectiveOptions& resolved, const DatasetInfo& dataset,
                          std::uint64_t split_seeds) {
  return ScoreSum::bytes(predictions_of(resolved), logit_columns(resolved, dataset), split_seeds);
}

}  // namespace gneiss
