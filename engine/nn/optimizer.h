// Adam and AdamW with PyTorch's semantics: the same numbers from the same gradients.
//
// Source: Kingma and Ba (2015); Loshchilov and Hutter (2019) for the decoupled decay of AdamW. In Adam,
//         weight_decay is an L2 term added to the gradient. Pascanu et al. (2013) for clipping by the norm.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/nn/parameter_set.h"

namespace gneiss {

enum class OptimizerKind : std::uint8_t { adam, adamw };

OptimizerKind parse_optimizer(std::string_view name);  // adam | adamw; throws Error(config)
std::string_view name_of(OptimizerKind kind) noexcept;

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::adam;
  float learning_rate = 0.003F;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0;
  float gradient_norm_max = 0;  // of all gradients together, as clip_grad_norm_ clips them; 0: any
};

// Throws Error(config) for a rate, a decay or a norm below 0 or without end, or a beta outside [0, 1).
void check_optimizer(const OptimizerOptions& options);

class Optimizer {
 public:
  // Throws Error(config) as check_optimizer() does.
  Optimizer(ParameterSet& parameters, const OptimizerOptions& options);

  // One step along the gradients that backward() left, clipped.
  void step();

  // For a schedule, and for a resume (with the set's values and moments).
  void set_learning_rate(float rate) noexcept { options_.learning_rate = rate; }
  void set_step_count(std::uint64_t count) noexcept { step_count_ = count; }
  std::uint64_t step_count() const noexcept { return step_count_; }
  const OptimizerOptions& options() const noexcept { return options_; }

 private:
  ParameterSet* parameters_;
  HostMemory norm_;  // of all gradients, before they were clipped
  OptimizerOptions options_;
  std::uint64_t step_count_ = 0;
};

}  // namespace gneiss
