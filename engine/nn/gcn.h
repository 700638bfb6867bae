// GCN: h_dst = lin(sum over s in neighbors(dst) and dst itself of h_s / sqrt(degree(s) degree(dst))) + bias.
//
// Why:    each layer aggregates before it multiplies, for destinations are fewer than sources; activation and
//         dropout between layers, none after the last.
// Degree: 1 + the neighbors that the batch holds of a node; the 1 is its self-loop, and an edge of the graph
//         to itself is that one. A destination's neighbors are those in the layer's block, a source's those
//         in the block below, where every source of this block is a destination. Block 0 has no block below:
//         there a source that is no destination has an unknown degree and is taken to have that of the
//         destination it sends to, which keeps a node's weights summing to about 1.
// Exact:  with all neighbors in the batch (fanout -1) every layer but the first is that of the full graph,
//         and the first is so wherever its sources are destinations too: all of it in a batch of all nodes.
//         Otherwise the first layer's edges from the batch's rim have the weight 1 / degree(dst).
// Sampled fanouts cut degrees at the fanout. Equal fanouts keep the scale of the full graph's layer; where
//         block l draws k neighbors and the block below k', a layer's weights sum to about sqrt(k / k'):
//         training learns that factor, inference over all neighbors would miss it.
// Source: Kipf and Welling (ICLR 2017); parameter names, shapes and first values are PyG's GCNConv.
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind gcn_kind;

}  // namespace gneiss
