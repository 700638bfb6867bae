#include "engine/nn/cross_entropy.h"

namespace gneiss {

CrossEntropy::CrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t class_count)
    : backend_(&backend),
      class_count_(class_count),
      memory_(backend.allocate(std::size_t{seed_count_max} * class_count)) {}

LossSum CrossEntropy::evaluate(ConstMatrixView logits, const BatchView& batch) {
  return backend_->cross_entropy(logits, batch.targets, {});
}

LossSum CrossEntropy::evaluate_with_gradient(ConstMatrixView logits, const BatchView& batch) {
  gradient_ = memory_.matrix(logits.rows, class_count_);
  return backend_->cross_entropy(logits, batch.targets, gradient_);
}

}  // namespace gneiss
