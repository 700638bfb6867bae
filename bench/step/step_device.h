// What steps are computed on, with every batch in its memory: the CPU, or a CUDA device.
//
// Clock:  on the CPU, of each step. On a device, its own: from before the first step until after the last,
//         for the host only asks for steps and waits once.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "bench/step/clock.h"
#include "engine/train/trainer.h"

namespace gneiss::step {

// Whose steps: what a device's memory is planned from.
struct StepRequest {
  const Dataset& dataset;
  const Preparation& preparation;
  const TrainOptions& options;
  std::uint32_t batches = 0;
  Precision precision = Precision::f32;
};

class StepDevice {
 public:
  virtual ~StepDevice() = default;
  virtual Backend& backend() noexcept = 0;
  virtual const BatchView& batch(std::size_t index) const = 0;
  // Asks for `count` steps, one after the other, until they are done. Seconds of each, or their mean.
  virtual std::vector<double> time_steps(std::uint32_t count,
                                         const std::function<void(std::uint32_t)>& ask_for_step) = 0;
};

//   name  cpu or cuda
//   pool  computes on the CPU, and shares the work of bringing batches; outlives what is made
// Throws Error: config (no such device, precision, memory or number of batches), io, corruption.
std::unique_ptr<StepDevice> make_step_device(std::string_view name, const StepRequest& request,
                                             const Clock& clock, ThreadPool& pool);

}  // namespace gneiss::step
