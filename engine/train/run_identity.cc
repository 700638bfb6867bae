#include "engine/train/run_identity.h"

#include <nlohmann/json.hpp>

namespace gneiss {

std::string identity_of(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                        const Backend& backend) {
  nlohmann::json identity = to_json(preparation.info().options);
  identity.erase("gpu_cache_bytes");
  identity.erase("cpu_cache_bytes");
  identity.erase("residency");
  identity["preparation_seed"] = identity.at("seed");
  identity["dataset"] = fmt::format("{:016x}", preparation.info().dataset_fingerprint);
  // That fingerprint is of the dataset's files; splits stand in its catalog, and may be others with the same.
  identity["splits"] = fmt::format("{:016x}", dataset.checksum_of_splits());
  identity["model"] = options.model;
  identity["hidden"] = options.hidden;
  // As text with the fewest digits that say which float it is.
  identity["dropout"] = fmt::format("{}", options.dropout);
  const ModelTraits& traits = find_model_kind(options.model).traits;
  if (traits.has_heads) identity["num_heads"] = options.head_count;
  // What is not as it was before there was a choice.
  if (traits.has_aggregator && options.aggregator != Aggregator::mean) {
    identity["aggregator"] = name_of(options.aggregator);
  }
  if (options.activation != Activation::relu) identity["activation"] = name_of(options.activation);
  if (options.residual) identity["residual"] = true;
  if (options.norm != NormKind::none) identity["norm"] = name_of(options.norm);
  identity["optimizer"] = name_of(options.optimizer.kind);
  identity["lr"] = fmt::format("{}", options.optimizer.learning_rate);
  const LearningRateOptions& rate = options.learning_rate;
  identity["lr_schedule"] = name_of(rate.schedule);
  identity["warmup_steps"] = rate.warmup_steps;
  if (rate.schedule == RateSchedule::step) {
    identity["lr_step_epochs"] = rate.step_epochs;
    identity["lr_gamma"] = fmt::format("{}", rate.gamma);
  }
  // A cosine reaches zero at the last epoch: with more of them it is another one.
  if (rate.schedule == RateSchedule::cosine) identity["epochs"] = options.schedule.epochs;
  identity["weight_decay"] = fmt::format("{}", options.optimizer.weight_decay);
  // Only where they are not the default: states of before these options were go on.
  if (options.optimizer.gradient_norm_max > 0) {
    identity["gradient_clipping"] = fmt::format("{}", options.optimizer.gradient_norm_max);
  }
  const ObjectiveOptions& objective = options.objective;
  if (objective.task == Task::binary) identity["task"] = name_of(*objective.task);
  if (objective.metric != Metric::accuracy) identity["metric"] = name_of(*objective.metric);
  if (objective.class_weights != "none") identity["class_weights"] = objective.class_weights;
  if (objective.label_smoothing > 0) {
    identity["label_smoothing"] = fmt::format("{}", objective.label_smoothing);
  }
  identity["seed"] = options.schedule.seed;
  identity["shuffle"] = options.schedule.shuffle;
  if (options.exact_evaluation) identity["eval"] = "exact";
  identity["device"] = backend.name();
  if (backend.precision() != Precision::f32) identity["precision"] = name_of(backend.precision());
  return identity.dump();
}

}  // namespace gneiss
