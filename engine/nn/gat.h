// GAT: h_dst = per head, a mean of lin(h_s) over the neighbors s of dst and dst itself, weighted by
// attention, + bias. The weight of s is a softmax over leaky_relu(att_src . lin(h_s) + att_dst . lin(h_dst)),
// slope 0.2. The heads of a hidden layer lie side by side and share its columns, those of the last layer are
// averaged; activation and dropout between layers, none after the last. --dropout is also that of the
// attention weights, as in the paper and in PyG's GAT.
//
// Loops:  each destination has one edge to itself, whatever the sampler drew: edges of the graph from a node
//         to itself are dropped and one loop is added. So does PyG's GATConv(add_self_loops=True), on a graph
//         and on bipartite blocks whose destinations are the first sources; here a destination's own row is
//         the one that dst_in_src names. A node without neighbors keeps its own features, and no softmax is
//         empty.
// Exact:  with all neighbors in the batch (fanout -1) a layer is that of the full graph; with sampled ones
//         its softmax runs over those that were drawn. An edge that was drawn twice counts twice.
// Why:    a product with the rows of all sources would cost several times that with the destinations, and
//         memory for as many rows. But scores are products with few vectors, for att . lin(h) is
//         (lin^T att) . h: they are taken where the rows lie, tier by tier. And a weighted mean of products
//         is the product of the weighted mean. So a layer scores its sources, aggregates them head by head,
//         and multiplies destinations alone.
// Memory: of every layer the aggregates, [dst, heads * in]: many heads over wide features make that the most.
// Source: Velickovic et al. (ICLR 2018); parameter names, shapes and first values are those of PyG's GATConv
//         (2.5 and later: lin.weight, att_src, att_dst, bias).
#pragma once

#include "engine/nn/model.h"

namespace gneiss {

extern const ModelKind gat_kind;

}  // namespace gneiss
