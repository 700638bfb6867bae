// Whole models over the f64 reference operators: what finite differences and the kernels are held against.
#pragma once

#include <string>
#include <vector>

#include "engine/compute/reference.h"
#include "engine/nn/model.h"

namespace gneiss::test {

// Parameters in the order and layout of ParameterSet::parameters(), dense, in f64.
using Parameters = std::vector<reference::Matrix>;

Parameters read_parameters(const Model& model);
Parameters read_gradients(const Model& model);

struct ReferenceResult {
  reference::Matrix logits;
  reference::Loss loss;
  Parameters gradients;
};

// `name`: sage, gcn, gin or mlp. Gradients come by the chain rule, written apart from the engine's.
ReferenceResult run_reference(const std::string& name, const ModelOptions& options,
                              const Parameters& parameters, const BatchView& batch,
                              const StepContext& context);

}  // namespace gneiss::test
