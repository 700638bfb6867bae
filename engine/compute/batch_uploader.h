// Brings mini-batches from the host's memory into a device's, while the device computes on others.
//
// Why:     the pipeline knows this interface and nothing of streams and events; tests put one of their own in
//          its place.
// Memory:  slot_count() batches on the device, taken at construction and sized by the largest batch.
// Threads: one uploads (reclaim, upload, wait_uploaded), another computes (begin_compute, end_compute). A
//          slot passes from one to the other and back: upload, begin_compute, end_compute, reclaim, upload,
//          ...
// Errors:  io: the device failed.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

#include "engine/compute/batch_view.h"

namespace gneiss {

// A batch in the host's memory, and the memory that its views point into.
struct HostBatch {
  BatchView view;
  // What a batch lies in, each in one piece: frame, transposed edges, places of shared rows, segment. Rows
  // whose base is in none of them are the cpu tier's, or the device's own already.
  std::array<std::span<const std::byte>, 4> memory{};
};

// When a slot's batch was on its way and when it was computed, in seconds after BatchUploader::began(), by
// the device's clock.
struct SlotTimes {
  double upload_began = 0;
  double upload_seconds = 0;
  double compute_began = 0;
  double compute_seconds = 0;
};

class BatchUploader {
 public:
  virtual ~BatchUploader() = default;
  virtual std::size_t slot_count() const noexcept = 0;

  // Tells of memory that batches will come from, so that the device reads it by itself; it stays until it is
  // unpinned or the uploader is gone. False: the system refuses, and batches come from there more slowly.
  virtual bool pin(std::span<std::byte> host_memory) = 0;
  virtual void unpin(std::span<std::byte> host_memory) = 0;  // no upload from it is under way

  // Waits until what was computed from the slot has ended, and tells when; none: nothing was.
  virtual std::optional<SlotTimes> reclaim(std::size_t slot) = 0;
  // Starts to copy a batch. Precondition: the slot was reclaimed, or never filled.
  virtual void upload(std::size_t slot, const HostBatch& batch) = 0;
  // Until it is there, and `batch`'s memory may be used for others.
  virtual void wait_uploaded(std::size_t slot) = 0;
  // The same batch in the device's memory, valid until the slot's next upload.
  virtual const BatchView& view(std::size_t slot) const = 0;

  // What is computed after begin_compute() waits for the upload; what the slot holds is needed until what was
  // computed before end_compute() is done.
  virtual void begin_compute(std::size_t slot) = 0;
  virtual void end_compute(std::size_t slot) = 0;
  virtual std::chrono::steady_clock::time_point began() const noexcept = 0;
};

}  // namespace gneiss
