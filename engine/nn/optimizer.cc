#include "engine/nn/optimizer.h"

#include "storage/base/error.h"

namespace gneiss {

OptimizerKind parse_optimizer(std::string_view name) {
  if (name == "adam") return OptimizerKind::adam;
  if (name == "adamw") return OptimizerKind::adamw;
  fail(Kind::config, "there is no optimizer '{}'; use adam or adamw", name);
}

std::string_view name_of(OptimizerKind kind) noexcept {
  return kind == OptimizerKind::adam ? "adam" : "adamw";
}

Optimizer::Optimizer(ParameterSet& parameters, const OptimizerOptions& options)
    : parameters_(&parameters), options_(options) {
  // Written so that a NaN is refused too.
  if (!(options.learning_rate >= 0)) {
    fail(Kind::config, "the learning rate is {}; use 0 or more", options.learning_rate);
  }
  if (!(options.weight_decay >= 0)) {
    fail(Kind::config, "the weight decay is {}; use 0 or more", options.weight_decay);
  }
  for (const float beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) fail(Kind::config, "a beta of Adam is {}; use 0 or more, below 1", beta);
  }
}

void Optimizer::step() {
  ++step_count_;
  parameters_->backend().adam({.learning_rate = options_.learning_rate,
                               .beta1 = options_.beta1,
                               .beta2 = options_.beta2,
                               .epsilon = options_.epsilon,
                               .weight_decay = options_.weight_decay,
                               .is_decoupled = options_.kind == OptimizerKind::adamw,
                               .step = step_count_},
                              parameters_->values(), parameters_->gradients(), parameters_->first_moments(),
                              parameters_->second_moments());
}

}  // namespace gneiss
