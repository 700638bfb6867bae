// From a graph source to a sealed dataset, in bounded memory.
//
// Memory: options.memory_bytes, plus a byte and two bits a node for split marks, labels and degrees.
// Errors: config (the target exists), input (the source), io, cancelled; nothing is left behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "storage/import/feature_pipeline.h"
#include "storage/import/graph_source.h"
#include "storage/import/statistics.h"

namespace gneiss {

struct ImportOptions {
  bool undirected = false;             // add reverse edges and deduplicate
  bool self_loops = false;             // exactly one for each node
  std::optional<Dtype> feature_dtype;  // else the source's: f16 stays f16, all else becomes f32
  Normalization normalization = Normalization::none;
  std::uint64_t memory_bytes = 1ULL << 30;
  std::size_t thread_count = 0;  // 0: one per core
  bool force = false;            // replaces an existing dataset
};

DatasetStatistics import_graph(GraphSource source, const std::filesystem::path& target,
                               const ImportOptions& options);

}  // namespace gneiss
