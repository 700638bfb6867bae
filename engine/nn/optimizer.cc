#include "engine/nn/optimizer.h"

#include <cmath>
#include <utility>

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

void check_optimizer(const OptimizerOptions& options) {
  // Written so that a NaN is refused too.
  for (const auto& [name, value] :
       {std::pair{"learning rate", options.learning_rate}, std::pair{"weight decay", options.weight_decay},
        std::pair{"norm of --gradient-clipping", options.gradient_norm_max}}) {
    if (!(value >= 0) || std::isinf(value)) fail(Kind::config, "the {} is {}; use 0 or more", name, value);
  }
  for (const float beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) fail(Kind::config, "a beta of Adam is {}; use 0 or more, below 1", beta);
  }
}

Optimizer::Optimizer(ParameterSet& parameters, const OptimizerOptions& options)
    : parameters_(&parameters),
      norm_(parameters.backend().allocate_host(options.gradient_norm_max > 0 ? sizeof(double) : 0)),
      options_(options) {
  check_optimizer(options);
}

void Optimizer::step() {
  ++step_count_;
  const std::size_t count = parameters_->trained_count();
  if (options_.gradient_norm_max > 0) {
    parameters_->backend().clip_norm(parameters_->gradients().first(count),
                                     static_cast<double>(options_.gradient_norm_max),
                                     norm_.as<double>().front());
  }
  parameters_->backend().adam({.learning_rate = options_.learning_rate,
                               .beta1 = options_.beta1,
                               .beta2 = options_.beta2,
                               .epsilon = options_.epsilon,
                               .weight_decay = options_.weight_decay,
                               .is_decoupled = options_.kind == OptimizerKind::adamw,
                               .step = step_count_},
                              parameters_->values().first(count), parameters_->gradients().first(count),
                              parameters_->first_moments().first(count),
                              parameters_->second_moments().first(count));
}

}  // namespace gneiss
