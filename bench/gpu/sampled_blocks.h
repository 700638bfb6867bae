// Blocks shaped like a real batch's, in host memory: neighbors drawn from all nodes alike, so that they
// seldom coincide and no cache of a device holds their rows.
//
// Memory: one piece for indptr, indices and slots, one for transposed edges, as batches come from the
//         pipeline.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/compute/batch_uploader.h"

namespace gneiss::gpu {

struct BlockShape {
  std::uint32_t node_count = 0;
  std::uint32_t seed_count = 0;
  std::vector<std::uint32_t> fanouts;  // at the seeds first
};

class SampledBlocks {
 public:
  explicit SampledBlocks(const BlockShape& shape);

  const BlockView& block(std::size_t index) const noexcept { return blocks_[index]; }  // 0: next to the input
  std::size_t size() const noexcept { return blocks_.size(); }
  // What an uploader takes. Input rows are those of the nodes in a table of all nodes' rows, which lies on
  // the device.
  HostBatch batch(const std::byte* device_table, std::uint32_t columns) const;
  std::uint64_t frame_bytes() const noexcept { return frame_.size() * sizeof(std::uint32_t); }
  std::uint64_t transposed_bytes() const noexcept { return transposed_.size() * sizeof(std::uint32_t); }

 private:
  std::vector<BlockView> blocks_;
  std::vector<std::uint32_t> frame_;
  std::vector<std::uint32_t> transposed_;
  const std::uint32_t* slots_ = nullptr;  // of block 0's sources
};

}  // namespace gneiss::gpu
