// The operators on a CUDA device: cuBLAS for products, own kernels for the rest.
//
// Why:     what of CUDA the rest of the engine sees; no CUDA header is needed to include it, and a build
//          without CUDA has it too.
// Memory:  the device's is taken once, by reserve(), and dealt out from then on; a plan that was too small is
//          an error. Host memory for results is pinned.
// Threads: one calls the backend, another may call the uploader.
// Order:   one stream for operators. No sum depends on which thread comes first: results are the same to the
//          bit from run to run on one kind of device.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/compute/backend.h"
#include "engine/compute/batch_uploader.h"
#include "storage/base/rounding.h"

namespace gneiss {

// Of whatever is dealt out of a device's memory: what cudaMalloc() aligns to, and every vector load needs
// less.
inline constexpr std::size_t device_alignment = 256;

// The largest batch, in the device's memory.
struct UploadSizes {
  std::size_t slots = 2;  // one is computed while the next is on its way
  std::uint64_t frame_bytes = 0;
  std::uint64_t transposed_bytes = 0;
  std::uint64_t page_slot_bytes = 0;
  std::uint64_t row_bytes = 0;  // of a segment, rounded up to 256, and the cpu tier's rows: at most, together

  std::uint64_t bytes() const noexcept {  // of device memory, all slots
    std::uint64_t slot = 0;
    for (const std::uint64_t piece : {frame_bytes, transposed_bytes, page_slot_bytes, row_bytes}) {
      slot += round_up(piece, device_alignment);
    }
    return slots * slot;
  }
};

// How rows of the cpu tier come to the device.
enum class CpuRowPath : std::uint8_t {
  bus,     // the device reads them where they lie
  staged,  // the processor gathers them into a pinned buffer, which is then copied
};

class CudaBackend : public Backend {
 public:
  // Free memory of the device now, in bytes.
  virtual std::uint64_t free_bytes() const = 0;
  // Takes the device's memory for all that is allocated later: `bytes`, and `product_bytes` that
  // working_bytes() asked for. Throws Error(config) where the device has less.
  virtual void reserve(std::uint64_t bytes, std::uint64_t product_bytes) = 0;

  // Of reserved memory, before any buffer: kept until the backend goes.
  virtual std::span<std::byte> keep(std::uint64_t bytes) = 0;
  // Copies into it, and waits.
  virtual void fill(std::span<std::byte> kept, std::uint64_t offset, std::span<const std::byte> host) = 0;
  virtual std::unique_ptr<BatchUploader> make_uploader(const UploadSizes& sizes, CpuRowPath path) = 0;
};

// Throws Error(config) where the device cannot be used, or has no such precision.
std::unique_ptr<CudaBackend> make_cuda_backend(std::int32_t device_index, Precision precision);

}  // namespace gneiss
