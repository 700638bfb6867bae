// Where a trainer gets its mini-batches from.
//
// Why:     training sees this and nothing of disks: a Python module, an in-memory source or a test wraps it
//          just as well. All views are borrowed and describe shape, dtype, strides and device
//          (engine/compute/tensor_view.h), as DLPack does.
// Threads: one consumer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/compute/batch_view.h"

namespace gneiss {

// What it took to bring a batch.
struct BatchCost {
  std::uint64_t bytes_read = 0;
  std::uint64_t read_operations = 0;
  std::uint64_t input_rows = 0;
  std::uint64_t gpu_rows = 0;
  std::uint64_t cpu_rows = 0;
  std::uint64_t disk_rows = 0;  // shared ones too
};

struct SourcedBatch {
  BatchView view;
  BatchLabels labels;  // the view's, in host memory whatever the view's device
  // What the view points into, as far as it lies in the batch's own memory: see HostBatch.
  std::array<std::span<const std::byte>, 4> memory{};
  BatchCost cost;
  std::uint64_t position = 0;  // in the schedule, from 0
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // The next batch of the schedule, or nullptr at its end. It borrows from the source and is valid until
  // the next call. Blocks until the batch is whole.
  // Throws Error: io, corruption (of the lowest batch that failed; those before it were handed out, and
  // next() goes on failing), cancelled (interrupt).
  virtual const SourcedBatch* next() = 0;
};

}  // namespace gneiss
