// The graph as sampling sees it: in-edges by destination (CSC), in memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "storage/base/aligned_buffer.h"
#include "storage/base/ids.h"
#include "storage/format/dataset.h"

namespace gneiss {

// Borrowed arrays: the in-neighbors of node v are indices[indptr[v] .. indptr[v + 1]).
struct Topology {
  std::span<const std::uint64_t> indptr;  // [N + 1]
  std::span<const NodeId> indices;        // [E], each below N

  std::uint64_t node_count() const noexcept { return indptr.size() - 1; }
  std::span<const NodeId> neighbors(NodeId node) const noexcept {
    const std::uint64_t begin = indptr[to_index(node)];
    return indices.subspan(begin, indptr[to_index(node) + 1] - begin);
  }
};

// Owns a dataset's topology. Memory: 8 (N + 1) + 4 E bytes.
class LoadedTopology {
 public:
  // Throws Error(corruption) unless checksums match and every source is below N.
  explicit LoadedTopology(const Dataset& dataset);
  static std::uint64_t memory_bytes(const DatasetInfo& info) noexcept {
    return 8 * (info.node_count + 1) + 4 * info.edge_count;
  }
  Topology view() const noexcept { return {indptr_, indices_.as<NodeId>()}; }

 private:
  std::vector<std::uint64_t> indptr_;
  AlignedBuffer indices_;
};

}  // namespace gneiss
