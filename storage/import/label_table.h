// Labels and splits, checked against each other before any of them is written.
//
// Memory: as split_memory() says; labels stream into their file.
// Errors: input, naming file, place and value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "storage/format/dataset.h"
#include "storage/import/graph_source.h"

namespace gneiss {

// More classes than this are taken for a mistake: ids of something else, or a regression target.
inline constexpr std::uint64_t class_count_max = 1ULL << 20;

struct LabelTable {
  std::uint32_t class_count = 0;    // the largest label and one; 0 where there are several columns
  std::uint32_t label_columns = 0;  // 0 where there is one
  std::uint64_t labelled_nodes = 0;
  std::vector<bool> is_labelled;  // per node: in one column at least
};

// Writes labels.bin. One column holds classes: NaN and negative numbers mean "none". Several hold 0, 1, or
// NaN for "none", each, and nothing else. Throws on fractions, labels beyond class_count_max, a wrong count
// of rows, and when no node has a label.
LabelTable write_labels(LabelSource& source, std::uint64_t node_count, const std::filesystem::path& file);

// Ids below node_count, distinct, labelled; the training split not empty. Empty validation or test splits
// and nodes in two splits are warned of.
//   sources  in the order of Split
DatasetSplits read_splits(std::span<const std::unique_ptr<SplitSource>> sources, const LabelTable& labels);

// What nodes and the ids of their splits take at most, until the dataset is sealed.
std::uint64_t split_memory(std::uint64_t node_count, std::uint64_t id_count);

}  // namespace gneiss
