// A plain multilayer perceptron on the seeds' own features: shows what the graph adds.
//
// Why:  takes the same batches as the graph models, and of their input rows only the seeds'.
//       Parameter names are PyG's MLP: lins.{i}.weight, lins.{i}.bias.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind mlp_kind;

}  // namespace gneiss
