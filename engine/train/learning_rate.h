// The learning rate of each step: constant, a cosine to zero, or a step down every so many epochs; after a
// warm-up.
//
// Why:     a function of the step alone: a run that goes on after an interruption needs nothing kept.
// Source:  Loshchilov and Hutter (2017) for the cosine, without restarts; Goyal et al. (2017) for the linear
// warm-up.
#pragma once

#include <cstdint>
#include <string_view>

namespace gneiss {

enum class RateSchedule : std::uint8_t { constant, cosine, step };

RateSchedule parse_rate_schedule(std::string_view name);  // constant | cosine | step; throws Error(config)
std::string_view name_of(RateSchedule schedule) noexcept;

struct LearningRateOptions {
  RateSchedule schedule = RateSchedule::constant;
  std::uint64_t warmup_steps = 0;  // grows linearly to the full rate over these
  std::uint32_t step_epochs = 10;  // of `step`: epochs until the rate is multiplied by `gamma`
  float gamma = 0.5F;
};

// Throws Error(config) for a step of no epochs or a gamma outside (0, 1].
void check_learning_rate(const LearningRateOptions& options);

// What the optimizer's rate is multiplied by at `step` (from 0) of `total_steps`, `steps_per_epoch` an epoch.
// In (0, 1], but for the end of a cosine.
double rate_factor(const LearningRateOptions& options, std::uint64_t step, std::uint64_t steps_per_epoch,
                   std::uint64_t total_steps);

}  // namespace gneiss
