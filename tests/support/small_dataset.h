// Writes a small random dataset through the same writers as an importer, and keeps its arrays to compare
// with.
//
// Why: tests of what comes after the import need neither an importer nor a generator to be right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "storage/base/dtype.h"
#include "storage/base/ids.h"
#include "storage/format/dataset.h"

namespace gneiss::test {

struct SmallDatasetOptions {
  std::uint32_t nodes = 200;
  std::uint64_t edges = 2000;  // in-edges drawn; self-loops and repeats may be among them
  std::uint32_t dim = 8;
  Dtype dtype = Dtype::f32;
  std::uint32_t classes = 4;
  std::uint32_t label_columns = 0;  // of 0, 1 and none, in place of classes
  std::uint32_t train = 60;
  std::uint32_t valid = 20;
  std::uint32_t test = 20;
  std::uint64_t seed = 1;
  bool force = false;
  std::vector<float> features{};  // [nodes, dim], rounded to `dtype`; empty: any bit pattern
};

// The source's arrays, as any importer would have read them.
struct SmallDataset {
  std::filesystem::path folder;
  DatasetInfo info;
  std::vector<std::uint64_t> indptr;  // [N + 1]
  std::vector<NodeId> indices;        // [E] ascending per destination
  std::vector<std::byte> features;    // [N, dim] of info.feature_dtype
  std::vector<std::int32_t> labels;   // [N]; -1: none
  std::vector<std::uint8_t> entries;  // [N, label_columns]; 255: none
  DatasetSplits splits;               // disjoint, in random order

  std::span<const std::byte> row(NodeId node) const {
    return std::span(features).subspan(to_index(node) * info.row_bytes(), info.row_bytes());
  }
  std::span<const NodeId> neighbors(NodeId node) const {
    return std::span(indices).subspan(indptr[to_index(node)],
                                      indptr[to_index(node) + 1] - indptr[to_index(node)]);
  }
};

SmallDataset write_small_dataset(const std::filesystem::path& folder,
                                 const SmallDatasetOptions& options = {});

// The same from a list of edges (source, destination), where a test wants a certain graph.
using EdgeList = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
SmallDataset write_small_dataset(const std::filesystem::path& folder, const SmallDatasetOptions& options,
                                 EdgeList edges);

}  // namespace gneiss::test
