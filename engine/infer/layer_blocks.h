// The blocks of a layer that exact inference runs: consecutive nodes, and what a pass reads of them.
//
// Why:     passes differ in what they read, and should neither wait for it nor hold what they do not ask for.
// Memory:  for each block slot what the layer's passes read of the largest block; ExactPlan counts it.
// Threads: one calls; another reads ahead of it.
// Errors:  io, corruption, cancelled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/infer/exact_plan.h"
#include "engine/infer/filled_ahead.h"
#include "engine/infer/topology_stream.h"
#include "storage/base/aligned_buffer.h"

namespace gneiss {

// Members that a pass does not ask for are as they were.
struct LoadedBlock {
  explicit LoadedBlock(BlockLimits limits) : topology(limits) {}

  TopologyBlock topology;
  std::uint64_t first = 0;  // node
  std::size_t count = 0;    // of nodes
  Buffer input;             // the model's, for aggregates that waited on the drive and perhaps own rows, or
  AlignedBuffer own;        // whole rows of the layer's input
  AlignedBuffer aside;      // those aggregates, [count, aggregates * gathered columns]
  Buffer edges;             // numbers of loops, then of edges, [count + edge count, edge columns of a run]
};

// What of each block a pass reads; nullptr: not that.
struct BlockParts {
  bool has_edges = false;
  const StoredMatrix* own = nullptr;
  const StoredMatrix* aside = nullptr;
  const StoredMatrix* edges = nullptr;  // numbers of edges, and
  ColumnRun edge_runs{};                // which of its runs
};

// Numbers of a block's loops, then of its edges.
EdgeValues edge_values(const Buffer& memory, const BlockView& block, std::size_t columns);

class LayerBlocks {
 public:
  LayerBlocks(const Dataset& dataset, Model& model, const ExactPlan& plan);

  // Takes the memory of a layer; what another one took goes first.
  void begin(std::size_t index, const StoredMatrix& input);
  // And that of edges' numbers, which are not asked for before they are laid down.
  void begin_edges();
  void release();

  // Calls use(block) with all blocks in order, and after it read(bytes).
  void for_each(const BlockParts& parts, const std::function<void(LoadedBlock&)>& use,
                const std::function<void(std::uint64_t bytes)>& read);

  TieredRows own_rows(LoadedBlock& block) const;
  // Of a row of all aggregates that waited.
  std::size_t aside_bytes() const;
  // Loops and edges of a block, at most.
  std::size_t edge_entries() const { return std::size_t{plan_.block.destinations} + plan_.block.edges; }

 private:
  // Rows that lie some bytes apart.
  struct Place {
    std::byte* data = nullptr;
    std::size_t stride_bytes = 0;
  };
  // Where a part of the model's input begins and how far its rows are apart, in numbers: asked before the
  // reading thread begins, for the model's memory is exchanged meanwhile.
  struct InputPart {
    std::size_t first = 0;
    std::size_t stride = 0;
  };
  struct Streams;

  static InputPart input_part(const Buffer& input, MatrixView part);
  static Place place_in(const LoadedBlock& block, const InputPart& part);
  Place own_place(LoadedBlock& block) const;
  Place aside_place(LoadedBlock& block) const;
  FilledAhead<LoadedBlock>::Fill reader(const BlockParts& parts) const;
  bool fill(Streams& streams, LoadedBlock& block) const;
  std::uint64_t bytes_of(const LoadedBlock& block, const BlockParts& parts) const;

  const Dataset& dataset_;
  Model& model_;
  const ExactPlan& plan_;
  const std::uint64_t node_count_;
  std::vector<LoadedBlock> blocks_;  // one is used while others are read
  const ExactLayer* layer_ = nullptr;
  const StoredMatrix* input_ = nullptr;
  InputPart own_part_;
  InputPart aside_part_;
};

}  // namespace gneiss
