#include "engine/train/learning_rate.h"

#include <array>
#include <cmath>
#include <numbers>

#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::array<std::string_view, 3> names{"constant", "cosine", "step"};

}  // namespace

RateSchedule parse_rate_schedule(std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<RateSchedule>(i);
  }
  fail(Kind::config, "--lr-schedule '{}' is unknown; use constant, cosine or step", name);
}

std::string_view name_of(RateSchedule schedule) noexcept { return names[static_cast<std::size_t>(schedule)]; }

void check_learning_rate(const LearningRateOptions& options) {
  if (options.step_epochs == 0) fail(Kind::config, "--lr-step-epochs is 0; use 1 or more");
  if (!(options.gamma > 0 && options.gamma <= 1)) {
    fail(Kind::config, "--lr-gamma is {}; use more than 0 and at most 1", options.gamma);
  }
}

double rate_factor(const LearningRateOptions& options, std::uint64_t step, std::uint64_t steps_per_epoch,
                   std::uint64_t total_steps) {
  const std::uint64_t warmup = options.warmup_steps;
  const double warmed = step < warmup ? static_cast<double>(step + 1) / static_cast<double>(warmup) : 1.0;
  switch (options.schedule) {
    case RateSchedule::constant:
      return warmed;
    case RateSchedule::cosine: {
      if (step < warmup || total_steps <= warmup) return warmed;
      const double share = static_cast<double>(step - warmup) / static_cast<double>(total_steps - warmup);
      return (1 + std::cos(std::numbers::pi * share)) / 2;
    }
    case RateSchedule::step: {
      const std::uint64_t epoch = steps_per_epoch == 0 ? 0 : step / steps_per_epoch;
      const std::uint64_t steps_down = epoch / options.step_epochs;
      return warmed * std::pow(options.gamma, static_cast<double>(steps_down));
    }
  }
  return warmed;
}

}  // namespace gneiss
