// Exact inference: every layer over every node with its whole neighborhood, from the drive, in bounded
// memory.
//
// Why:     sampled batches say how good a model is on samples; these are its own outputs, of all nodes.
// How:     layer by layer. Of a layer's input some columns of all rows are in memory at a time (ExactPlan);
//          the edges are streamed past them in blocks, aggregates wait on the drive until the last columns
//          have come, and the model's own steps make the output, which is the next layer's input on the
//          drive. Where fewer columns are moved for it, the product comes first and neighbors are asked for
//          its columns: where it is narrower by half, and nearly always where heads each have a sum.
//          What edges weigh by attention is made once and read from the drive by every pass. Layer-wise
//          inference is PyG's and DGL's; columns in runs are FlashX's semi-external product (Zheng et al.,
//          Semi-External Memory Sparse Matrix Multiplication for Billion-Node Graphs, TPDS 2017).
// Numbers: those of Model::forward() over one block of all nodes, whatever the memory, but for the order in
//          which products and sums add; the same to the bit for any number of threads.
// Memory:  as planned. Drive: nameless files in the scratch folder, gone however this ends.
// Threads: one calls; operators spread the work, another thread reads ahead of them, one writes behind them.
// Errors:  io, corruption, cancelled.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "engine/infer/exact_plan.h"

namespace gneiss {

struct LayerCost {
  Traffic traffic;   // moved
  Traffic one_pass;  // what one pass would move
  std::size_t runs = 1;
  double seconds = 0;
};

// Takes rows of the last layer that is run, nodes in order: of `first_node` and those after it. Borrowed.
using RowSink = std::function<void(std::uint64_t first_node, ConstMatrixView rows)>;

//   model  made with plan.maxima(), its parameters set; not in training
std::vector<LayerCost> infer_exactly(const Dataset& dataset, Model& model, const ExactPlan& plan,
                                     const std::filesystem::path& scratch_folder, const RowSink& sink);

}  // namespace gneiss
