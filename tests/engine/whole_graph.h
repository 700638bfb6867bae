// A small dataset whose features are ordinary numbers, and the same as one batch that holds all nodes with
// whole neighborhoods.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/compute/batch_view.h"
#include "engine/infer/exact_inference.h"
#include "engine/nn/model.h"
#include "tests/support/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace gneiss::test {

class WholeGraph {
 public:
  //   options.features  drawn where empty
  WholeGraph(SmallDatasetOptions options, const EdgeList& edges);

  const Dataset& dataset() const noexcept { return *dataset_; }
  const SmallDataset& source() const noexcept { return source_; }
  std::filesystem::path folder() const { return folder_.path(); }
  BatchView batch(std::uint32_t layers);
  std::vector<BlockMaxima> maxima(std::uint32_t layers) const;

 private:
  TemporaryFolder folder_;
  SmallDataset source_;
  std::unique_ptr<Dataset> dataset_;
  std::vector<std::uint32_t> indptr_;
  std::vector<BlockView> blocks_;
};

// A hub that every node points to, nodes without in-edges, edges from a node to itself and edges that come
// twice.
EdgeList uneven_edges(std::uint32_t nodes, std::uint64_t count, std::uint64_t seed);

struct ExactOutput {
  std::vector<float> values;  // [nodes, columns]
  std::size_t columns = 0;
  ExactPlan plan;
  std::vector<LayerCost> costs;
};

// Runs `layers` layers of a model with these parameters (ParameterSet::values()).
ExactOutput run_exactly(const Dataset& dataset, const std::filesystem::path& scratch, ExactRequest request,
                        std::span<const float> parameters, std::size_t threads = 2);

}  // namespace gneiss::test
