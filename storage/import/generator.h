// Writes a generated dataset: see planted_graph.h for what it looks like.
//
// Memory: options.memory_bytes, generator_memory_beside() among them.
// Errors: config, io, cancelled; nothing is left behind. The same bytes for the same options, whatever the
//         number of threads and the memory.
#pragma once

#include <cstdint>
#include <filesystem>

#include "storage/base/dtype.h"
#include "storage/import/planted_graph.h"
#include "storage/import/statistics.h"

namespace gneiss {

struct GeneratorOptions {
  PlantedOptions graph;
  Dtype feature_dtype = Dtype::f32;
  double train_share = 0.1;
  double valid_share = 0.02;
  double test_share = 0.02;
  bool directed = false;  // else reverse edges are added
  std::uint64_t memory_bytes = 1ULL << 30;
  std::size_t thread_count = 0;  // 0: one per core
  bool force = false;
};

struct GeneratorReport {
  DatasetStatistics statistics;
  // What the best classifier gets from features alone, against the noisy labels, over a sample of nodes.
  double best_feature_accuracy = 0;
  // What not even knowing every class would exceed: labels are noise to that extent.
  double best_accuracy = 0;
};

// What splits, marks of nodes and classes' means take, beside buffers and sorting. Throws Error(config) for
// options that cannot be.
std::uint64_t generator_memory_beside(const GeneratorOptions& options);

GeneratorReport generate_dataset(const GeneratorOptions& options, const std::filesystem::path& target);

}  // namespace gneiss
