// Bytes of what operators read and write, in doubles, for rates.
#pragma once

#include <cstddef>

#include "engine/compute/block_view.h"

namespace gneiss::gpu {

inline double bytes_of(std::size_t rows, std::size_t columns) {
  return 4.0 * static_cast<double>(rows) * static_cast<double>(columns);  // an f32 and an index are as large
}
inline double edge_bytes(const BlockView& block) { return bytes_of(block.indices.size(), 1); }

// A hidden layer's: destinations are the first sources, without a word.
inline BlockView as_hidden(BlockView block) {
  block.dst_in_src = {};
  return block;
}

}  // namespace gneiss::gpu
