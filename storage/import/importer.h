// From a graph source to a sealed dataset, in bounded memory.
//
// Memory: options.memory_bytes, import_memory_beside() among them.
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

// What the source's splits and marks of nodes take, beside buffers and sorting.
std::uint64_t import_memory_beside(const GraphSource& source);

DatasetStatistics import_graph(GraphSource source, const std::filesystem::path& target,
                               const ImportOptions& options);

}  // namespace gneiss
