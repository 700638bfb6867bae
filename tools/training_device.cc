#include "tools/training_device.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/tiers/sweep_image.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// Of what is free, for what the driver takes besides.
constexpr double usable_share = 0.95;

std::string text(std::uint64_t bytes) { return format_bytes(static_cast<double>(bytes)); }

}  // namespace

TrainingDevice::TrainingDevice(std::string_view name, Precision precision, std::uint64_t memory_bytes,
                               ThreadPool& pool)
    : is_free_to_choose_(name == "auto"), precision_(precision), pool_(pool) {
  // To probe makes a context, which takes of the host what would then be missing.
  if (is_free_to_choose_ && memory_bytes < device_runtime_bytes + 2 * program_memory_bytes) {
    const std::string missing = missing_cuda_driver();
    use_cpu(missing.empty() ? fmt::format("--memory {} does not hold a CUDA device's runtime, {}",
                                          text(memory_bytes), text(device_runtime_bytes))
                            : missing);
    return;
  }
  const DeviceProbe probe = name == "cpu" ? DeviceProbe{} : probe_cuda_device();
  const Device chosen = choose_device(name, probe);
  if (chosen.type == Device::Type::cpu) {
    use_cpu(probe.reason);
    return;
  }
  try {
    use_cuda(probe, chosen.index);
  } catch (const Error& error) {
    if (!is_free_to_choose_) throw;
    use_cpu(error.what());
  }
}

void TrainingDevice::use_cuda(const DeviceProbe& probe, std::int32_t index) {
  cuda_ = make_cuda_backend(index, precision_);
  title_ = probe.name;
  evaluation_pool_.emplace(pool_.thread_count());
  cpu_ = make_cpu_backend(*evaluation_pool_);
}

void TrainingDevice::use_cpu(std::string_view reason) {
  cuda_.reset();
  if (is_free_to_choose_ && precision_ == Precision::tf32) {
    fail(Kind::config,
         "--precision tf32 needs a CUDA device, and the CPU would compute: {}; use f32 or bf16 there",
         reason);
  }
  cpu_ = make_cpu_backend(pool_, precision_);
  if (is_free_to_choose_) spdlog::info("computing on the CPU: {}", reason);
}

void TrainingDevice::plan(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                          std::uint64_t memory_bytes) {
  if (!is_cuda()) {
    if (memory_bytes > 0) spdlog::info("--device-memory bounds nothing: the CPU computes");
    return;
  }
  try {
    plan_cuda(dataset, preparation, options, memory_bytes);
  } catch (const Error& error) {
    if (!is_free_to_choose_) throw;
    use_cpu(error.what());
  }
}

void TrainingDevice::plan_cuda(const Dataset& dataset, const Preparation& preparation,
                               const TrainOptions& options, std::uint64_t memory_bytes) {
  const auto usable = static_cast<std::uint64_t>(usable_share * static_cast<double>(cuda_->free_bytes()));
  plan_ = plan_device(dataset, preparation, options, *cuda_,
                      memory_bytes > 0 ? std::min(memory_bytes, usable) : usable);
  if (preparation.cpu_slot_count() > 0) bus_ = measure_bus(image_row_bytes(preparation.cpu_tier()));
  plan_training(dataset, preparation, options, device());  // the host's share, before anything is taken
  DeviceSide::take(*cuda_, plan_);
  fmt::print("Device: {}, {} of {}: gpu tier {}, model {}, {} batches {}\n", title_,
             text(plan_.total_bytes()), text(usable), text(plan_.gpu_tier_bytes),
             text(plan_.computation_bytes), plan_.upload.slots, text(plan_.upload.bytes()));
  if (!bus_) return;
  fmt::print("Rows of the cpu tier come {}: {} over the bus, {} gathered and copied\n",
             bus_->faster_path() == CpuRowPath::bus ? "over the bus, as the device reads them"
                                                    : "gathered by the processor",
             format_rate(bus_->bus_bytes_per_second), format_rate(bus_->staged_bytes_per_second()));
}

void TrainingDevice::load(const Preparation& preparation, CpuTier& cpu_tier) {
  if (!is_cuda()) {
    host_gpu_tier_.emplace(preparation);
    gpu_tier_ = host_gpu_tier_->base();
    return;
  }
  side_.emplace(*cuda_, plan_, bus_ ? bus_->faster_path() : CpuRowPath::bus, preparation, cpu_tier);
  gpu_tier_ = side_->gpu_tier();
  if (!side_->reads_cpu_tier()) {
    spdlog::warn(
        "the system does not let the cpu tier's {} be pinned: its rows are gathered and copied, more slowly",
        text(cpu_tier.memory().size()));
  }
}

std::uint64_t TrainingDevice::staging_bytes() const noexcept {
  return bus_ && bus_->faster_path() == CpuRowPath::staged ? plan_.upload.cpu_row_bytes : 0;
}

TrainDevice TrainingDevice::device() noexcept {
  if (!is_cuda()) return *cpu_;
  return {*cuda_, side_ ? &side_->uploader() : nullptr, *cpu_, staging_bytes()};
}

nlohmann::json TrainingDevice::summary() const {
  if (!is_cuda()) return {};
  nlohmann::json json{{"device_name", title_},
                      {"planned_device_memory_bytes", plan_.total_bytes()},
                      {"gpu_tier_bytes", plan_.gpu_tier_bytes}};
  if (bus_) {
    json["bus_copy_bytes_per_second"] = bus_->copy_bytes_per_second;
    json["bus_row_bytes_per_second"] = bus_->bus_bytes_per_second;
    json["staged_row_bytes_per_second"] = bus_->staged_bytes_per_second();
  }
  return json;
}

}  // namespace gneiss
