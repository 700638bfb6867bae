#include "tools/training_device.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "engine/compute/cpu/cpu_backend.h"
#include "engine/compute/cuda/device.h"
#include "engine/tiers/sweep_image.h"
#include "storage/base/error.h"
#include "storage/base/units.h"

namespace gneiss {
namespace {

// Of what is free, for what the driver takes besides.
constexpr double usable_share = 0.95;

std::string text(std::uint64_t bytes) { return format_bytes(static_cast<double>(bytes)); }

}  // namespace

TrainingDevice::TrainingDevice(std::string_view name, Precision precision, ThreadPool& pool) : pool_(pool) {
  const DeviceProbe probe = name == "cpu" ? DeviceProbe{} : probe_cuda_device();
  const Device chosen = choose_device(name, probe);
  if (chosen.type == Device::Type::cpu) {
    if (name == "auto") spdlog::info("computing on the CPU: {}", probe.reason);
    cpu_ = make_cpu_backend(pool, precision);
    return;
  }
  title_ = probe.name;
  cuda_ = make_cuda_backend(chosen.index, precision);
  evaluation_pool_.emplace(pool.thread_count());
  cpu_ = make_cpu_backend(*evaluation_pool_);
}

void TrainingDevice::plan(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
                          std::uint64_t memory_bytes) {
  if (!is_cuda()) {
    if (memory_bytes > 0) fail(Kind::config, "--device-memory is for --device cuda; leave it out on the CPU");
    return;
  }
  const std::uint64_t row_bytes = image_row_bytes(preparation.cpu_tier());
  if (preparation.cpu_slot_count() > 0) bus_ = measure_bus(row_bytes);
  const auto usable = static_cast<std::uint64_t>(usable_share * static_cast<double>(cuda_->free_bytes()));
  plan_ = plan_device(dataset, preparation, options, *cuda_, memory_bytes > 0 ? std::min(memory_bytes, usable) : usable);
  fmt::print("Device: {}, {} of {}: gpu tier {}, model {}, {} batches {}\n", title_, text(plan_.total_bytes()),
             text(usable), text(plan_.gpu_tier_bytes), text(plan_.computation_bytes), plan_.upload.slots,
             text(plan_.upload.bytes()));
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
  cuda_->reserve(plan_.total_bytes() - plan_.product_bytes, plan_.product_bytes);
  const std::span<std::byte> rows = cuda_->keep(plan_.gpu_tier_bytes);
  if (preparation.gpu_row_count() > 0) {
    sweep_image(*preparation.gpu_tier(), [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      cuda_->fill(rows, offset, bytes);
    });
  }
  gpu_tier_ = {.rows = rows.data(), .row_count = preparation.gpu_row_count()};
  uploader_ = cuda_->make_uploader(plan_.upload, bus_ ? bus_->faster_path() : CpuRowPath::bus);
  uploader_->pin(cpu_tier.memory());
}

std::uint64_t TrainingDevice::staging_bytes() const noexcept {
  return bus_ && bus_->faster_path() == CpuRowPath::staged ? plan_.upload.row_bytes : 0;
}

TrainDevice TrainingDevice::device() noexcept {
  if (!is_cuda()) return *cpu_;
  return {*cuda_, uploader_.get(), *cpu_, staging_bytes()};
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
