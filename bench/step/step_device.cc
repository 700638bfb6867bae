#include "bench/step/step_device.h"

#include "bench/step/held_batches.h"
#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "engine/compute/cuda/device.h"
#include "engine/tiers/host_gpu_tier.h"
#include "engine/train/device_side.h"
#include "storage/base/error.h"

namespace gneiss::step {
namespace {

class OnCpu final : public StepDevice {
 public:
  OnCpu(const StepRequest& request, const Clock& clock, ThreadPool& pool)
      : backend_(make_cpu_backend(pool, request.precision)),
        gpu_tier_(request.preparation),
        cpu_tier_(request.preparation),
        batches_(request.dataset, request.preparation, cpu_tier_, gpu_tier_.base(), request.batches),
        clock_(clock) {}

  Backend& backend() noexcept override { return *backend_; }
  const BatchView& batch(std::size_t index) const override { return batches_[index].view; }
  std::vector<double> time_steps(std::uint32_t count,
                                 const std::function<void(std::uint32_t)>& ask_for_step) override {
    std::vector<double> seconds;
    for (std::uint32_t i = 0; i < count; ++i) {
      const double start = clock_.now();
      ask_for_step(i);
      seconds.push_back(clock_.now() - start);
    }
    return seconds;
  }

 private:
  std::unique_ptr<Backend> backend_;
  HostGpuTier gpu_tier_;
  CpuTier cpu_tier_;
  HeldBatches batches_;
  Clock clock_;
};

class OnCuda final : public StepDevice {
 public:
  explicit OnCuda(const StepRequest& request)
      : backend_(make_cuda_backend(choose_device("cuda").index, request.precision)),
        cpu_tier_(request.preparation),
        side_(*backend_, plan(request, *backend_), CpuRowPath::bus, request.preparation, cpu_tier_),
        batches_(request.dataset, request.preparation, cpu_tier_, side_.gpu_tier(), request.batches) {
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      uploader().upload(i, {batches_[i].view, batches_[i].memory});
      uploader().wait_uploaded(i);
    }
  }

  Backend& backend() noexcept override { return *backend_; }
  const BatchView& batch(std::size_t index) const override { return uploader().view(index); }
  std::vector<double> time_steps(std::uint32_t count,
                                 const std::function<void(std::uint32_t)>& ask_for_step) override {
    // A slot's events, though its batch is not the only one that is computed between them.
    uploader().begin_compute(0);
    for (std::uint32_t i = 0; i < count; ++i) ask_for_step(i);
    uploader().end_compute(0);
    const std::optional<SlotTimes> times = uploader().reclaim(0);
    return {times->compute_seconds / count};
  }

 private:
  // As gneiss train plans it, but with a slot for every batch; what is planned is taken.
  static DevicePlan plan(const StepRequest& request, CudaBackend& backend) {
    constexpr double usable_share = 0.95;
    const double usable = usable_share * static_cast<double>(backend.free_bytes());
    DevicePlan plan = plan_device(request.dataset, request.preparation, request.options, backend,
                                  static_cast<std::uint64_t>(usable));
    plan.upload.slots = request.batches;
    if (static_cast<double>(plan.total_bytes()) > usable) {
      fail(Kind::config, "{} batches do not fit into the device's memory; give fewer --batches",
           request.batches);
    }
    DeviceSide::take(backend, plan);
    return plan;
  }
  BatchUploader& uploader() const { return side_.uploader(); }

  std::unique_ptr<CudaBackend> backend_;
  CpuTier cpu_tier_;
  DeviceSide side_;
  HeldBatches batches_;
};

}  // namespace

std::unique_ptr<StepDevice> make_step_device(std::string_view name, const StepRequest& request,
                                             const Clock& clock, ThreadPool& pool) {
  if (name == "cuda") return std::make_unique<OnCuda>(request);
  return std::make_unique<OnCpu>(request, clock, pool);
}

}  // namespace gneiss::step
