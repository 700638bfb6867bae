// GIN: h_dst = nn(h_dst + sum of h_src over neighbors), nn two linear layers with a relu between them.
//
// Why:    sums tell apart neighborhoods that means do not. Sums grow with the sampled neighbors: a model is
//         for the fanouts it was trained with. eps is 0 and not learned. relu and dropout between layers,
//         none after the last.
// Source: Xu, Hu, Leskovec, Jegelka (ICLR 2019); parameter names and shapes are those of PyG's GINConv over
//         Sequential(Linear(in, hidden), ReLU(), Linear(hidden, out)): convs.{i}.nn.0, convs.{i}.nn.2.
//         PyG's state also lists the constant convs.{i}.eps: load with strict=False.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind gin_kind;

}  // namespace gneiss
