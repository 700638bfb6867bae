// A preparation in a device's memory, and runs on it: of the real device, or of the emulated one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/compute/cuda/cuda_backend.h"
#include "engine/train/device_side.h"
#include "tests/engine/learnable_graph.h"

namespace gneiss::test {

// An emulated device is made anew, and takes its order from `seed`; a real one is what it is.
void start_device(std::uint64_t seed);

// A device, a preparation in its memory, and a run on it.
class DeviceRun {
 public:
  struct How {
    std::uint64_t seed = 2;  // of the order in which an emulated device does things
    CpuRowPath path = CpuRowPath::bus;
    Precision precision = Precision::f32;
    std::uint64_t budget = 0;  // of the device's memory; 0: all
  };

  DeviceRun(const LearnableGraph& graph, TrainOptions options, const std::string& name, const How& how)
      : graph_(graph), options_(std::move(options)), preparation_(graph.open(name)), cpu_tier_(preparation_) {
    start_device(how.seed);
    host_ = make_cpu_backend(evaluation_pool_);
    backend_ = make_cuda_backend(0, how.precision);
    plan_ = plan_device(graph.dataset(), preparation_, options_, *backend_,
                        how.budget > 0 ? how.budget : backend_->free_bytes());
    DeviceSide::take(*backend_, plan_);
    side_.emplace(*backend_, plan_, how.path, preparation_, cpu_tier_);
    options_.pipeline.gpu_tier = side_->gpu_tier();
    options_.pipeline.pool = &pool_;
    options_.memory_bytes = 2ULL << 30;
  }

  const DevicePlan& plan() const { return plan_; }
  RunResult train(const std::function<void(const EpochResult&)>& on_epoch = [](const EpochResult&) {}) {
    return gneiss::train(graph_.dataset(), preparation_, cpu_tier_, options_,
                         {*backend_, &side_->uploader(), *host_}, on_epoch);
  }

 private:
  const LearnableGraph& graph_;
  TrainOptions options_;
  Preparation preparation_;
  CpuTier cpu_tier_;
  ThreadPool pool_{1};
  ThreadPool evaluation_pool_{1};
  std::unique_ptr<Backend> host_;
  std::unique_ptr<CudaBackend> backend_;
  DevicePlan plan_;
  std::optional<DeviceSide> side_;
};

inline RunResult train_on_device(const LearnableGraph& graph, const TrainOptions& options,
                                 const std::string& name, const DeviceRun::How& how = {}) {
  return DeviceRun(graph, options, name, how).train();
}

}  // namespace gneiss::test
