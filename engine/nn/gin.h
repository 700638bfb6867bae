// GIN: h_dst = nn(h_dst + sum of h_src over neighbors), nn two linear layers with the activation between
// them.
//
// Why:    sums tell apart neighborhoods that means do not. Sums grow with the sampled neighbors: a model is
//         for the fanouts it was trained with. eps is 0 and not learned. Activation and dropout between
//         layers, none after the last.
// Source: Xu, Hu, Leskovec, Jegelka (ICLR 2019); parameter names are those of PyG's GIN, whose layers are
//         GINConv(MLP([in, hidden, out], norm=None)): convs.{i}.nn.lins.0, convs.{i}.nn.lins.1. PyG's GIN
//         narrows the last layer to [hidden, out, out], which leaves two classes one hidden value; here it
//         stays hidden wide. PyG's state also lists the constant convs.{i}.eps: load with strict=False.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind gin_kind;

}  // namespace gneiss
