// GraphSAGE: h_dst = lin_l(mean, or largest column by column, of h_src over neighbors) + lin_r(h_dst).
// Without neighbors the aggregate is 0; the gradient of a largest goes to the first neighbor that has it.
//
// Why:    each layer aggregates, lays [aggregate | self] side by side and takes one product with the stacked
//         weights [lin_l | lin_r]; activation and dropout between layers, none after the last.
// Source: Hamilton, Ying, Leskovec (NeurIPS 2017); parameter names and shapes are PyG's SAGEConv, whose
//         aggr="max" takes the features as they are, not through a layer as the paper's pooling does.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind sage_kind;

}  // namespace gneiss
