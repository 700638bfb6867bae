// A batch of two hops over a graph so large that neighbors seldom coincide: half of its input rows lie in a
// cache behind slots, half in a dense buffer, as a run with a CPU tier has them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/compute/batch_view.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss::micro {

class RandomBatch {
 public:
  RandomBatch(std::uint32_t seeds, std::uint32_t fanout, std::uint32_t columns, Dtype dtype);

  const BatchView& view() const noexcept { return view_; }
  std::vector<BlockMaxima> maxima() const;

 private:
  void draw_blocks(std::uint32_t seeds, std::uint32_t fanout);
  void make_tiers(std::uint32_t columns, Dtype dtype);

  std::array<BlockView, 2> blocks_;
  std::array<std::vector<std::uint32_t>, 2> indptr_;
  std::array<std::vector<std::uint32_t>, 2> indices_;
  std::vector<std::uint32_t> dst_in_src_;
  std::vector<std::uint32_t> transposed_;
  std::vector<NodeId> hidden_nodes_;
  std::vector<std::int32_t> targets_;
  AlignedBuffer cache_;
  AlignedBuffer disk_;
  std::vector<std::uint32_t> slots_;
  BatchView view_;
};

}  // namespace gneiss::micro
