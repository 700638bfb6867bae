// What a model is trained to make small: a mean over the seeds' labels, and its gradient.
//
// Why:    the trainer knows this interface only; which loss it is follows from the labels and the options.
// Memory: that of the gradient, taken at construction, sized by the largest batch.
#pragma once

#include <cstdint>

#include "engine/compute/backend.h"
#include "engine/compute/batch_view.h"

namespace gneiss {

class Loss {
 public:
  virtual ~Loss() = default;
  Loss(const Loss&) = delete;
  Loss& operator=(const Loss&) = delete;

  // The loss over the labelled seeds of logits [seed_count, columns]; gradient() is unspecified after.
  LossSum evaluate(ConstMatrixView logits, const BatchView& batch) { return compute(logits, batch, {}); }
  // The same, and gradient() becomes the derivative of the mean loss.
  LossSum evaluate_with_gradient(ConstMatrixView logits, const BatchView& batch) {
    gradient_ = memory_.matrix(logits.rows, logits.columns);
    return compute(logits, batch, gradient_);
  }
  MatrixView gradient() const noexcept { return gradient_; }

 protected:
  Loss(Backend& backend, std::uint32_t seed_count_max, std::uint32_t columns)
      : backend_(&backend), memory_(backend.allocate(std::size_t{seed_count_max} * columns)) {}

  // `gradient` has no rows where it is not wanted.
  virtual LossSum compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient) = 0;

  Backend& backend() const noexcept { return *backend_; }

 private:
  Backend* backend_;
  Buffer memory_;
  MatrixView gradient_;
};

}  // namespace gneiss
