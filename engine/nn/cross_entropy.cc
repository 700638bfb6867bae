#include "engine/nn/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "storage/base/error.h"

namespace gneiss {

void check_cross_entropy(const CrossEntropyOptions& options, std::uint32_t class_count) {
  // Written so that a NaN is refused too.
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1)) {
    fail(Kind::config, "--label-smoothing is {}; use 0 or more, below 1", options.label_smoothing);
  }
  const std::vector<float>& weights = options.class_weights;
  if (weights.empty()) return;
  if (weights.size() != class_count) {
    fail(Kind::config, "--class-weights gives {} weights, the dataset has {} classes; give one a class",
         weights.size(), class_count);
  }
  for (std::size_t c = 0; c < weights.size(); ++c) {
    if (!(weights[c] >= 0) || std::isinf(weights[c])) {
      fail(Kind::config, "--class-weights: class {} weighs {}; use 0 or more", c, weights[c]);
    }
  }
  if (std::ranges::count(weights, 0.0F) == static_cast<std::ptrdiff_t>(weights.size())) {
    fail(Kind::config, "--class-weights are all 0; there is nothing to learn from");
  }
}

CrossEntropy::CrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t class_count,
                           const CrossEntropyOptions& options)
    : Loss(backend, seed_count_max, class_count),
      host_weights_(options.class_weights),
      weights_(backend.allocate(options.class_weights.size())),
      smoothing_(options.label_smoothing) {
  check_cross_entropy(options, class_count);
  if (!options.class_weights.empty()) backend.copy_in(options.class_weights, weights_.data());
}

void CrossEntropy::compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient,
                           LossSum& result) {
  backend().cross_entropy(logits, batch.targets, {.weights = weights_.span(), .smoothing = smoothing_},
                          gradient, result);
}

bool CrossEntropy::weighs_anything(const BatchLabels& labels) const {
  return std::ranges::any_of(labels.targets, [&](std::int32_t target) {
    return target != no_label &&
           (host_weights_.empty() || host_weights_[static_cast<std::size_t>(target)] > 0);
  });
}

}  // namespace gneiss
