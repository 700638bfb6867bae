// How exact inference shares its memory and the drive's space, before it takes either.
//
// Why: a layer over whole neighborhoods needs every row of its input at random. Of a graph whose rows do not
//      fit in memory, some columns of all rows do: aggregation works column by column, so each run of columns
//      is read once, in sequence, and the edges are streamed past it. What is read is then a pass or two over
//      the rows, and as many over the edges as there are runs; rows gathered block by block would be read
//      again by every block that has a neighbor among them.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "engine/infer/stored_matrix.h"
#include "engine/infer/topology_stream.h"
#include "engine/nn/model.h"

namespace gneiss {

struct Traffic {
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;

  std::uint64_t total() const noexcept { return bytes_read + bytes_written; }
  bool operator==(const Traffic&) const = default;
};

struct ExactLayer {
  LayerNeeds needs;
  std::size_t in_columns = 0;
  std::size_t out_columns = 0;
  Dtype input_dtype = Dtype::f32;
  bool projects = false;        // its product is taken first: neighbors are asked for its output's columns
  std::vector<ColumnRun> runs;  // of what neighbors are asked for, in memory one after the other
  ReadAhead ahead;              // of what is read in runs
  Traffic traffic;              // what the layer reads and writes
  Traffic one_pass;             // its input, the edges if it asks for neighbors, and its output, once each

  bool asks_neighbors() const noexcept { return needs.aggregates > 0; }
  bool waits() const noexcept { return asks_neighbors() && runs.size() > 1; }
  std::size_t gathered_columns() const noexcept { return projects ? needs.projected_columns : in_columns; }
  std::size_t aggregates() const noexcept { return projects ? 1 : needs.aggregates; }
  Dtype gathered_dtype() const noexcept { return projects ? Dtype::f32 : input_dtype; }
  // How the layer before it leaves its output.
  std::vector<ColumnRun> input_runs() const;
  // What neighbors are asked for is multiplied by its factor once, in memory: looked up edge by edge, factors
  // cost as much as rows of one line. Not where finish_layer() may read destinations' own rows from the same
  // memory.
  bool scales_rows() const noexcept {
    return needs.may_scale_rows && (projects || !needs.own_rows) && gathered_dtype() == Dtype::f32;
  }
  bool reads_own_rows() const noexcept { return needs.own_rows && (waits() || projects); }
  // What is read of a block arrives where the layer's product wants it: in memory that is exchanged for the
  // model's. Own rows too, where they need no widening.
  bool fills_input() const noexcept {
    return waits() && !projects && aggregates() == 1 && needs.input_columns > 0;
  }
  bool fills_own_rows() const noexcept {
    return fills_input() && needs.input_columns > gathered_columns() && input_dtype == Dtype::f32;
  }
  // The aggregates of all runs but the last wait on the drive, each aggregate's columns a run.
  std::vector<ColumnRun> waiting_runs() const;
  // A pass reads its input row by row.
  bool reads_rows(std::size_t index) const noexcept {
    return !asks_neighbors() || needs.sources == LayerNeeds::Sources::from_rows || is_laid_down(index) ||
           reads_own_rows();
  }
  std::uint64_t resident_bytes(std::uint64_t node_count) const noexcept {
    return asks_neighbors() ? node_count * runs.front().count * size_of(gathered_dtype()) : 0;
  }
  std::uint64_t sources_bytes(std::uint64_t node_count) const noexcept {
    return node_count * needs.source_columns * sizeof(float);
  }
  // What neighbors are asked for is laid down by runs first: products, and the features, which lie by rows.
  bool is_laid_down(std::size_t index) const noexcept { return projects || (index == 0 && waits()); }
  // The first run stays in memory meanwhile, unless that is taken by what edges' numbers are made of.
  bool keeps_first_run(std::size_t index) const noexcept { return is_laid_down(index) && !lays_edges_down(); }
  // The numbers of all edges are made once, before any run is in memory, and read from the drive by every
  // pass: made anew in each, they cost more than sums, and memory for what they are made of.
  bool lays_edges_down() const noexcept { return waits() && needs.edge_columns > 0; }
  // How they lie: as passes read them.
  std::vector<ColumnRun> edge_runs() const;
  // Those that a pass over run `run` reads, as indices of edge_runs().
  ColumnRun edge_runs_of(std::size_t run) const noexcept;
  std::size_t edge_columns_of(std::size_t run) const noexcept;
  std::size_t edge_runs_max() const noexcept;     // of any run
  std::size_t edge_columns_max() const noexcept;  // of any run
};

struct ExactPlan {
  BlockLimits block;
  std::size_t block_slots = 3;  // blocks in memory: one is used while others are read
  ReadAhead ahead;
  std::vector<ExactLayer> layers;    // those that are run
  std::uint64_t resident_bytes = 0;  // of the largest run
  std::uint64_t model_bytes = 0;
  std::uint64_t memory_bytes = 0;   // altogether
  std::uint64_t scratch_bytes = 0;  // on the drive, at most at once

  std::vector<BlockMaxima> maxima(std::uint32_t layer_count) const;
};

struct ExactRequest {
  std::string_view model;
  ModelOptions options;
  std::uint32_t layers = 0;         // the first so many
  bool keeps_output = false;        // of the last of them, as a file of f32: then it counts as written
  std::uint64_t memory_bytes = 0;   // of everything
  std::uint64_t program_bytes = 0;  // taken already, or by others; product_bytes() among them
  // Of a block: with 4,096, threads waited for one another a tenth of the time.
  std::uint32_t destinations_max = 16384;
  std::size_t run_columns_max = std::numeric_limits<std::size_t>::max();  // of a run
};

// Throws Error: config (the memory is too little; says what would do), corruption (the offsets of the edges).
ExactPlan plan_exact_inference(const Dataset& dataset, Backend& backend, const ExactRequest& request);

// The least memory_bytes with which a plan can be made.
std::uint64_t least_exact_memory(const Dataset& dataset, Backend& backend, const ExactRequest& request);

// Throws Error(io) with what is missing unless `folder` has the space for the plan and `more` bytes.
void check_scratch_space(const ExactPlan& plan, const std::filesystem::path& folder, std::uint64_t more);

}  // namespace gneiss
