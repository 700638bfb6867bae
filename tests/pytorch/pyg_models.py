"""The models of engine/nn in plain PyTorch, under the parameter names of PyG's models, on sampled blocks.

Why:    whoever loads a checkpoint of ours does with PyG what is done here without it; and what this computes shares
        no code with the engine.
Source: torch_geometric.nn.models (BasicGNN: GraphSAGE, GCN, GAT, GIN; MLP) and the convolutions they are made of.
        GCN's degrees on blocks are those that engine/nn/gcn.h describes. `residuals` are not PyG's.
Needs:  PyTorch 1.12 or newer, and NumPy.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Block:
    """One hop: source and destination of each edge, and the row of each destination among the sources."""

    def __init__(self, indptr, indices, own, source_count):
        degrees = np.diff(np.asarray(indptr).astype("i8"))
        self.destination_count, self.source_count = len(degrees), source_count
        self.dst = torch.from_numpy(np.repeat(np.arange(len(degrees)), degrees))
        self.src = torch.from_numpy(np.asarray(indices).astype("i8"))
        self.own = torch.from_numpy(np.asarray(own).astype("i8"))
        self.degrees = torch.from_numpy(degrees)

    def with_loops(self):
        """Edges of the graph from a node to itself dropped, one for each destination added."""
        is_other = self.src != self.own[self.dst]
        return (torch.cat([self.src[is_other], self.own]),
                torch.cat([self.dst[is_other], torch.arange(self.destination_count)]))

    def product(self, src, dst, weights, x):
        """Weighted sums of rows of x over the edges; no gradient for the weights."""
        matrix = torch.sparse_coo_tensor(torch.stack([dst, src]), weights,
                                         (self.destination_count, self.source_count))
        return torch.sparse.mm(matrix, x)


class SAGEConv(nn.Module):
    def __init__(self, inputs, outputs, aggregator):
        super().__init__()
        self.aggregator = aggregator
        self.lin_l = nn.Linear(inputs, outputs)
        self.lin_r = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, blocks, layer):
        block = blocks[layer]
        if self.aggregator == "max":
            rows = x[block.src]
            aggregate = torch.zeros(block.destination_count, x.shape[1], dtype=x.dtype).scatter_reduce(
                0, block.dst[:, None].expand_as(rows), rows, "amax", include_self=False)
        else:
            shares = (1 / block.degrees.clamp(min=1).to(x.dtype))[block.dst]
            aggregate = block.product(block.src, block.dst, shares, x)
        return self.lin_l(aggregate) + self.lin_r(x[block.own])


class GCNConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.lin = nn.Linear(inputs, outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x, blocks, layer):
        block = blocks[layer]
        src, dst = block.with_loops()
        degrees = torch.bincount(dst, minlength=block.destination_count)
        if layer > 0:
            below = torch.bincount(blocks[layer - 1].with_loops()[1], minlength=block.source_count)
            source_degrees = below[src]
        else:
            known = torch.zeros(block.source_count, dtype=torch.int64)
            known[block.own] = degrees
            source_degrees = torch.where(known[src] > 0, known[src], degrees[dst])
        weights = (source_degrees * degrees[dst]).to(x.dtype) ** -0.5
        return self.lin(block.product(src, dst, weights, x)) + self.bias


class GATConv(nn.Module):
    def __init__(self, inputs, outputs, heads, concat, dropout):
        super().__init__()
        columns = outputs // heads if concat else outputs
        self.heads, self.columns, self.concat, self.dropout = heads, columns, concat, dropout
        self.lin = nn.Linear(inputs, heads * columns, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, columns))
        self.att_dst = nn.Parameter(torch.empty(1, heads, columns))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.lin.weight)
        # PyG's glorot looks at the last two sizes; PyTorch's xavier would take the heads for a convolution's channels.
        bound = (6 / (heads + columns)) ** 0.5
        for attention in (self.att_src, self.att_dst):
            nn.init.uniform_(attention, -bound, bound)

    def forward(self, x, blocks, layer):
        block = blocks[layer]
        src, dst = block.with_loops()
        z = self.lin(x).view(-1, self.heads, self.columns)
        scores = (z * self.att_src).sum(-1)[src] + (z * self.att_dst).sum(-1)[block.own][dst]
        scores = functional.leaky_relu(scores, 0.2)
        shares = torch.exp(scores - scores.detach().max())
        sums = torch.zeros(block.destination_count, self.heads, dtype=x.dtype).index_add(0, dst, shares)
        shares = functional.dropout(shares / sums[dst], self.dropout, self.training)
        out = torch.zeros(block.destination_count, self.heads, self.columns, dtype=x.dtype)
        out = out.index_add(0, dst, shares[:, :, None] * z[src])
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias


ACTIVATIONS = {"relu": torch.relu, "leaky_relu": functional.leaky_relu, "elu": functional.elu, "tanh": torch.tanh,
               "none": lambda x: x}


class InnerMLP(nn.Module):
    def __init__(self, inputs, hidden, outputs, activation):
        super().__init__()
        self.activation = activation
        self.lins = nn.ModuleList([nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)])

    def forward(self, x):
        return self.lins[1](self.activation(self.lins[0](x)))


class GINConv(nn.Module):
    def __init__(self, inputs, hidden, outputs, activation):
        super().__init__()
        self.nn = InnerMLP(inputs, hidden, outputs, activation)

    def forward(self, x, blocks, layer):
        block = blocks[layer]
        return self.nn(x[block.own] + block.product(block.src, block.dst, torch.ones(len(block.src), dtype=x.dtype), x))


class BatchNorm(nn.Module):
    """PyG's wraps PyTorch's."""

    def __init__(self, columns):
        super().__init__()
        self.module = nn.BatchNorm1d(columns)

    def forward(self, x):
        return self.module(x)


NORMS = {"none": lambda columns: nn.Identity(), "batch": BatchNorm, "layer": nn.LayerNorm}


class SampledModel(nn.Module):
    """output = dropout(activation(norm(convolution + residual))) of each layer; of the last, convolution + residual."""

    def __init__(self, model, features, hidden, classes, layers, dropout=0.0, heads=1, aggregator="mean",
                 residual=False, norm="none", activation="relu"):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.uses_graph = model != "mlp"
        self.dropout = dropout
        stack, residuals = [], []
        for layer in range(layers):
            is_last = layer + 1 == layers
            inputs, outputs = (features if layer == 0 else hidden), (classes if is_last else hidden)
            stack.append({
                "sage": lambda: SAGEConv(inputs, outputs, aggregator),
                "gcn": lambda: GCNConv(inputs, outputs),
                "gat": lambda: GATConv(inputs, outputs, heads, not is_last, dropout),
                "gin": lambda: GINConv(inputs, hidden, outputs, self.activation),
                "mlp": lambda: nn.Linear(inputs, outputs),
            }[model]())
            residuals.append(nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False))
        setattr(self, "convs" if self.uses_graph else "lins", nn.ModuleList(stack))
        self.residuals = nn.ModuleList(residuals) if residual else None
        self.norms = nn.ModuleList([NORMS[norm](hidden) for _ in range(layers - 1)])

    def forward(self, x, blocks):
        """x: rows of block 0's sources. Returns the seeds' logits."""
        stack = self.convs if self.uses_graph else self.lins
        if not self.uses_graph:
            x = x[blocks[0].own[:blocks[-1].destination_count]]
        for layer, convolution in enumerate(stack):
            out = convolution(x, blocks, layer) if self.uses_graph else convolution(x)
            if self.residuals is not None:
                out = out + self.residuals[layer](x[blocks[layer].own] if self.uses_graph else x)
            if layer + 1 < len(stack):
                out = functional.dropout(self.activation(self.norms[layer](out)), self.dropout, self.training)
            x = out
        return x
