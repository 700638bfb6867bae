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

  enum class Gradient : std::uint8_t { unwanted, wanted };

  // The loss over the labelled seeds of logits [seed_count, columns]; gradient() becomes the derivative of
  // the mean loss, or, unwanted, is unspecified after.
  //   result  in host memory of the backend, there once it has been waited for: see Backend::allocate_host()
  void start(ConstMatrixView logits, const BatchView& batch, Gradient gradient, LossSum& result) {
    gradient_ = gradient == Gradient::wanted ? memory_.matrix(logits.rows, logits.columns) : MatrixView();
    compute(logits, batch, gradient_, result);
  }
  // The same, waited for.
  LossSum evaluate(ConstMatrixView logits, const BatchView& batch) {
    return wait_for(logits, batch, Gradient::unwanted);
  }
  LossSum evaluate_with_gradient(ConstMatrixView logits, const BatchView& batch) {
    return wait_for(logits, batch, Gradient::wanted);
  }
  MatrixView gradient() const noexcept { return gradient_; }
  // Whether the sum's weight can be other than 0: whether there is anything to learn from a batch.
  //   labels  of the batch, in host memory
  virtual bool weighs_anything(const BatchLabels& labels) const = 0;

 protected:
  Loss(Backend& backend, std::uint32_t seed_count_max, std::uint32_t columns)
      : backend_(&backend),
        memory_(backend.allocate(std::size_t{seed_count_max} * columns)),
        sum_(backend.allocate_host(sizeof(LossSum))) {}

  // `gradient` has no rows where it is not wanted.
  virtual void compute(ConstMatrixView logits, const BatchView& batch, MatrixView gradient,
                       LossSum& result) = 0;

  Backend& backend() const noexcept { return *backend_; }

 private:
  LossSum wait_for(ConstMatrixView logits, const BatchView& batch, Gradient gradient) {
    LossSum& sum = sum_.as<LossSum>().front();
    start(logits, batch, gradient, sum);
    backend_->wait(backend_->mark());
    return sum;
  }

  Backend* backend_;
  Buffer memory_;
  HostMemory sum_;  // of evaluate()
  MatrixView gradient_;
};

}  // namespace gneiss
