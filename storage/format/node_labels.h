// The labels of all nodes: one class each, or several columns of yes and no.
//
// Memory: 4 bytes a node, or one a node and column.
// Format: storage/FORMAT.md, labels.bin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "storage/base/ids.h"

namespace gneiss {

// Of an entry of label columns: 0 and 1 are labels, and this is none.
inline constexpr std::uint8_t unlabelled = 255;
constexpr bool is_label_entry(std::uint8_t entry) noexcept { return entry <= 1 || entry == unlabelled; }

// A row of labels is kept for every seed of every batch; more columns than this are taken for a mistake.
inline constexpr std::uint32_t label_columns_max = 4096;

struct NodeLabels {
  std::vector<std::int32_t> classes;  // [N], -1: none; empty where there are columns
  std::vector<std::uint8_t> entries;  // [N, columns] of 0, 1 and `unlabelled`; empty where there are classes
  std::uint32_t columns = 0;          // 0: classes

  std::span<const std::uint8_t> row(NodeId node) const {
    return std::span(entries).subspan(std::size_t{to_index(node)} * columns, columns);
  }
};

}  // namespace gneiss
