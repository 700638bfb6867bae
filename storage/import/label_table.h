// Labels and splits, checked against each other before any of them is written.
//
// Memory: 5 bytes a node while importing.
// Errors: input, naming file, place and value.
#pragma once

#include <cstdint>
#include <vector>

#include "storage/format/dataset.h"
#include "storage/import/graph_source.h"

namespace gneiss {

// More classes than this are taken for a mistake: ids of something else, or a regression target.
inline constexpr std::uint64_t class_count_max = 1ULL << 20;

struct LabelTable {
  std::vector<std::int32_t> labels;  // per node; -1: none
  std::uint32_t class_count = 0;     // the largest label and one
  std::uint64_t labelled_nodes = 0;
};

// NaN and negative labels mean "none". Throws on fractions, labels beyond class_count_max, a wrong count of
// rows, and when no node has a label.
LabelTable read_labels(LabelSource& source, std::uint64_t node_count);

// Ids below node_count, distinct, labelled; the training split not empty. Empty validation or test splits
// and nodes in two splits are warned of.
DatasetSplits check_splits(const std::array<SplitSource, 3>& sources, const LabelTable& labels);

}  // namespace gneiss
