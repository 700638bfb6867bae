// Softmax cross-entropy over the seeds' logits, with the gradient that Model::backward() takes.
#pragma once

#include <cstdint>

#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"

namespace gneiss {

class CrossEntropy {
 public:
  // Takes the memory of the gradient once.
  CrossEntropy(Backend& backend, std::uint32_t seed_count_max, std::uint32_t class_count);

  // Loss and accuracy over the labelled seeds; gradient() is unspecified after.
  LossSum evaluate(ConstMatrixView logits, const BatchView& batch);
  // The same, and gradient() becomes the derivative of the mean loss.
  LossSum evaluate_with_gradient(ConstMatrixView logits, const BatchView& batch);
  MatrixView gradient() const noexcept { return gradient_; }

 private:
  Backend* backend_;
  std::uint32_t class_count_;
  Buffer memory_;
  MatrixView gradient_;
};

}  // namespace gneiss
