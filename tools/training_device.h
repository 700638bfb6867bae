// What `gneiss train` computes on: the CPU, or a CUDA device with its part of the rows and its batches.
//
// Why:    choosing a device, planning its memory and filling it are the same for every run of a command.
// Order:  construct, plan(), load(), then train with device(); the cpu tier given to load() outlives this.
// Errors: config: no such device, precision or memory. io: the device failed. corruption: gpu.bin.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/compute/cuda/bus_profile.h"
#include "engine/compute/cuda/cuda_backend.h"
#include "engine/compute/cuda/device.h"
#include "engine/tiers/host_gpu_tier.h"
#include "engine/train/device_side.h"
#include "engine/train/trainer.h"
#include "storage/base/parallel.h"

namespace gneiss {

class TrainingDevice {
 public:
  //   name   auto, cpu or cuda; auto takes the CPU where a device cannot be used, here or in plan(), and says
  //          in one line why
  //   pool   the CPU backend's
  TrainingDevice(std::string_view name, Precision precision, ThreadPool& pool);

  bool is_cuda() const noexcept { return cuda_ != nullptr; }
  std::string_view name() const noexcept { return is_cuda() ? "cuda" : "cpu"; }  // as --device takes it
  Backend& backend() noexcept { return is_cuda() ? *cuda_ : *cpu_; }

  // Decides what the device's memory will hold, and says so in a line. Takes none of it yet.
  //   memory_bytes  of the device, at most; 0: what is free
  // Before anything is made from backend().
  void plan(const Dataset& dataset, const Preparation& preparation, const TrainOptions& options,
            std::uint64_t memory_bytes);
  // Takes the memory, and brings the gpu tier there.
  void load(const Preparation& preparation, CpuTier& cpu_tier);

  TierBase gpu_tier() const noexcept { return gpu_tier_; }  // after load()
  TrainDevice device() noexcept;
  // What a run's summary says of it: nothing on the CPU.
  nlohmann::json summary() const;

 private:
  std::uint64_t staging_bytes() const noexcept;
  void use_cuda(const DeviceProbe& probe, std::int32_t index);
  void use_cpu(std::string_view reason);

  std::string title_;  // "NVIDIA H200"
  bool is_free_to_choose_;
  Precision precision_;
  ThreadPool& pool_;  // of the thread that brings batches, and the CPU backend's where that trains
  std::optional<ThreadPool> evaluation_pool_;  // the uploading thread has the other one
  std::unique_ptr<Backend> cpu_;               // what exact evaluation runs on, too
  std::unique_ptr<CudaBackend> cuda_;          // null: the CPU trains
  std::optional<BusProfile> bus_;              // where there are rows that come over it
  DevicePlan plan_;
  std::optional<DeviceSide> side_;
  std::optional<HostGpuTier> host_gpu_tier_;
  TierBase gpu_tier_;
};

}  // namespace gneiss
