// A device with its memory taken, and its clock: what every measurement here runs on.
//
// Clock:  the device's own, by events on the stream of the operators: those that a batch's slot has.
// Memory: taken once; buffers of a measurement end with it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/compute/cuda/cuda_backend.h"

namespace gneiss::gpu {

// How long things are measured.
struct Effort {
  double sample_seconds = 0.03;  // work is repeated until it takes so long
  std::size_t samples = 5;       // of which the median counts
};

struct RigMemory {
  std::uint64_t table_bytes = 0;
  std::uint64_t buffer_bytes = 0;  // that are there at once
  std::uint64_t frame_bytes = 0;   // of the batch
  std::uint64_t transposed_bytes = 0;
  std::size_t product_columns = 0;  // the most inputs or outputs of a product
};

class Rig {
 public:
  // Throws Error: config (no such memory or precision), io.
  Rig(Precision precision, const RigMemory& memory, const Effort& effort);

  Backend& backend() noexcept { return *backend_; }
  std::span<std::byte> table() const noexcept { return table_; }  // on the device, of random f32
  // The batch on the device, until the next one.
  const BatchView& upload(const HostBatch& batch);

  // Of random values, which are no special ones to hardware as zeros may be.
  Buffer random_buffer(std::size_t count);
  // Seconds of one run of `work`, which asks for operators: without the first run, and as part of many.
  double seconds(const std::function<void()>& work);

 private:
  double run(const std::function<void()>& work, std::size_t times);

  std::unique_ptr<CudaBackend> backend_;
  std::unique_ptr<BatchUploader> uploader_;
  std::span<std::byte> table_;
  Effort effort_;
};

}  // namespace gneiss::gpu
