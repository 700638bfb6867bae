// All in-edges in the order of graph.csc, as blocks of consecutive nodes whose sources are all nodes.
//
// Why:    local ids are node ids, so nothing is looked up, renumbered or kept: a block is what was read.
// Memory: the limits' worth of offsets, and what is read ahead; each block its offsets and edges.
// Errors: io, corruption (a checksum, offsets that do not ascend, a source beyond the nodes).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/compute/block_view.h"
#include "storage/format/dataset.h"
#include "storage/io/sequential_reader.h"

namespace gneiss {

struct BlockLimits {
  std::uint32_t destinations = 4096;
  std::uint32_t edges = 1U << 18;  // at least the largest in-degree
};

// One block's memory, to be filled again and again.
class TopologyBlock {
 public:
  explicit TopologyBlock(BlockLimits limits);
  static std::uint64_t memory_bytes(BlockLimits limits) noexcept;

  BlockView view() const noexcept;

 private:
  friend class TopologyStream;
  std::uint64_t node_count_ = 0;
  std::size_t count_ = 0;  // of destinations
  std::vector<std::uint32_t> indptr_;
  std::vector<std::uint32_t> indices_;
  std::vector<std::uint32_t> own_;
};

class TopologyStream {
 public:
  TopologyStream(const Dataset& dataset, BlockLimits limits, ReadAhead ahead);
  static std::uint64_t memory_bytes(BlockLimits limits, ReadAhead ahead) noexcept;  // without blocks

  // The next block, made with the same limits; false at the end.
  bool next(TopologyBlock& block);

 private:
  void read_offsets();
  void read_edges(std::span<std::uint32_t> edges);

  std::string name_;
  std::uint64_t node_count_;
  std::uint64_t edge_count_;
  BlockLimits limits_;
  SequentialReader offsets_stream_;
  SequentialReader edges_stream_;
  std::uint64_t next_ = 0;              // the first node of the next block
  std::uint64_t edges_done_ = 0;        // before next_
  std::vector<std::uint64_t> offsets_;  // the ends of nodes next_ and so on, as far as they are read
};

// Of any node. Reads the offsets once, and checks that they ascend to the number of edges.
std::uint64_t largest_in_degree(const Dataset& dataset, ReadAhead ahead);

}  // namespace gneiss
