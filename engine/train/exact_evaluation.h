// Scores of a split by exact inference over the whole graph, in place of sampled batches.
//
// Memory: as ExactPlan says, from the beginning to the end of evaluate(), and the splits' labels for good.
// Errors: io, corruption (labels, rows, edges), input (a loss that is no number), cancelled.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/infer/exact_inference.h"
#include "engine/nn/loss.h"
#include "engine/train/scores.h"

namespace gneiss {

class ExactEvaluator {
 public:
  //   request         its memory includes that of the labels
  //   scratch_folder  for layers' outputs, see ScratchMatrix
  ExactEvaluator(const Dataset& dataset, Backend& backend, const ExactRequest& request,
                 std::filesystem::path scratch_folder);

  // The labels that are kept, and the logits of a block.
  static std::uint64_t label_bytes(const Dataset& dataset, const ExactRequest& request);

  // What is taken of the request's memory while it evaluates, with all that the request says is taken
  // already.
  std::uint64_t memory_bytes() const noexcept { return plan_.memory_bytes; }
  bool has(Split split) const noexcept { return !labels_of(split).nodes.empty(); }
  // With the parameters of `trained`, which was made from the same options.
  Scores evaluate(Split split, const ParameterSet& trained, Loss& loss, ScoreSum& scores);

 private:
  struct SplitLabels {
    std::vector<std::uint32_t> nodes;   // ascending
    std::vector<std::int32_t> classes;  // of each; empty where labels have columns
    std::vector<std::uint8_t> entries;  // [nodes, columns]
  };

  const SplitLabels& labels_of(Split split) const noexcept { return labels_[split == Split::test ? 1 : 0]; }
  void read_labels();
  void take_row(SplitLabels& labels, std::span<const std::byte> row) const;

  const Dataset& dataset_;
  const std::filesystem::path scratch_folder_;
  ExactPlan plan_;
  std::unique_ptr<Model> model_;
  std::array<SplitLabels, 2> labels_;  // of validation and test
};

}  // namespace gneiss
