// A whole model's logits in f64, forward alone, written for reading: with finite differences of its loss,
// what the engine's gradients are held against where no way back is written by hand.
#pragma once

#include <map>
#include <string>

#include "engine/compute/reference.h"
#include "engine/nn/model.h"

namespace gneiss::test {

using NamedParameters = std::map<std::string, reference::Matrix>;

NamedParameters read_named_parameters(const Model& model);
NamedParameters read_named_gradients(const Model& model);

// `name`: sage, gat or mlp, with any options. Batch norm normalizes by the batch in training, and else by the
// running statistics among `parameters`.
reference::Matrix reference_logits(const std::string& name, const ModelOptions& options,
                                   const NamedParameters& parameters, const BatchView& batch,
                                   const StepContext& context);

}  // namespace gneiss::test
