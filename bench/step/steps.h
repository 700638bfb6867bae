// The steps of a run, asked for one after the other: their results come later where the backend's do.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/step/step_device.h"
#include "engine/nn/loss.h"
#include "engine/nn/model.h"
#include "engine/nn/optimizer.h"

namespace gneiss::step {

class Steps {
 public:
  // Over `batches` of the device's in turn; borrows all.
  Steps(const StepDevice& device, std::uint32_t batches, Model& model, Loss& loss, Optimizer& optimizer)
      : device_(device),
        batches_(batches),
        model_(model),
        loss_(loss),
        optimizer_(optimizer),
        sums_(model.backend().allocate_host((batches + std::size_t{1}) * sizeof(LossSum))) {}

  // The first pass: the loss of each batch, after the updates before it.
  std::vector<double> first_losses() {
    for (std::uint32_t i = 0; i < batches_; ++i) ask(i, sum(i));
    wait();
    std::vector<double> losses;
    for (std::uint32_t i = 0; i < batches_; ++i) losses.push_back(sum(i).mean());
    return losses;
  }
  // One of those after it, whose loss nobody reads.
  void ask(std::uint32_t index) { ask(index, sum(batches_)); }
  void wait() { model_.backend().wait(model_.backend().mark()); }

 private:
  LossSum& sum(std::size_t index) const { return sums_.as<LossSum>()[index]; }
  void ask(std::uint32_t index, LossSum& result) {
    const BatchView& batch = device_.batch(index % batches_);
    const ConstMatrixView logits = model_.forward(batch, {.is_training = true, .seed = 1, .step = step_++});
    loss_.start(logits, batch, Loss::Gradient::wanted, result);
    model_.backward(batch, loss_.gradient());
    optimizer_.step();
  }

  const StepDevice& device_;
  std::uint32_t batches_;
  Model& model_;
  Loss& loss_;
  Optimizer& optimizer_;
  HostMemory sums_;
  std::uint64_t step_ = 0;
};

}  // namespace gneiss::step
