// GraphSAGE with mean aggregation: h_dst = lin_l(mean of h_src over neighbors) + lin_r(h_dst).
//
// Why:    each layer aggregates, lays [mean | self] side by side and takes one product with the stacked
//         weights [lin_l | lin_r]; relu and dropout between layers, none after the last.
// Source: Hamilton, Ying, Leskovec (NeurIPS 2017); parameter names and shapes are PyG's SAGEConv.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind sage_kind;

}  // namespace gneiss
