#!/usr/bin/env python3
"""Writes whole_graph.safetensors: models over a whole graph, by PyTorch, with dense matrices instead of edges.

Run it with any PyTorch (1.13 made the committed file): python3 make_whole_graph.py
The graph has a hub that every node points to, nodes without in-edges, edges from a node to itself, and no edge
twice. Everything is computed in f64 from values that f32 holds exactly.
"""

import pathlib

import numpy as np
import torch
from make_golden import write_safetensors
from torch.nn.functional import leaky_relu, linear

NODES, COLUMNS, HIDDEN, CLASSES, HEADS = 90, 11, 12, 5, 3


def make_graph(rng):
    """adjacency[d, s]: the edge s -> d."""
    adjacency = rng.uniform(size=(NODES, NODES)) < 0.05
    adjacency[7] = True
    adjacency[[0, 20, 89]] = False
    adjacency[[3, 7, 50], [3, 7, 50]] = True
    return adjacency


def sage(x, adjacency, p, is_last):
    degree = adjacency.sum(1, keepdim=True).clamp(min=1)
    return linear(adjacency @ x / degree, p["lin_l.weight"], p["lin_l.bias"]) + linear(x, p["lin_r.weight"])


def sage_max(x, adjacency, p, is_last):
    rows = torch.where(adjacency[:, :, None] > 0, x[None], torch.tensor(-np.inf, dtype=x.dtype)).amax(1)
    rows = torch.where(adjacency.sum(1, keepdim=True) > 0, rows, torch.zeros_like(rows))
    return linear(rows, p["lin_l.weight"], p["lin_l.bias"]) + linear(x, p["lin_r.weight"])


def with_loops(adjacency):
    return torch.maximum(adjacency, torch.eye(NODES, dtype=adjacency.dtype))


def gcn(x, adjacency, p, is_last):
    adjacency = with_loops(adjacency)
    scale = adjacency.sum(1) ** -0.5
    return scale[:, None] * (adjacency @ (scale[:, None] * linear(x, p["lin.weight"]))) + p["bias"]


def gin(x, adjacency, p, is_last):
    hidden = torch.relu(linear(x + adjacency @ x, p["nn.lins.0.weight"], p["nn.lins.0.bias"]))
    return linear(hidden, p["nn.lins.1.weight"], p["nn.lins.1.bias"])


def gat(x, adjacency, p, is_last):
    z = linear(x, p["lin.weight"]).view(NODES, HEADS, -1)
    scores = (z * p["att_dst"]).sum(-1)[:, None] + (z * p["att_src"]).sum(-1)[None]  # [d, s, heads]
    scores = leaky_relu(scores, 0.2).masked_fill(with_loops(adjacency)[:, :, None] == 0, -np.inf)
    out = torch.einsum("dsh,shc->dhc", torch.softmax(scores, 1), z)
    return (out.mean(1) if is_last else out.flatten(1)) + p["bias"]


def gat_shapes(fan_in, out, is_last):
    columns = out if is_last else out // HEADS
    return {"lin.weight": (HEADS * columns, fan_in), "att_src": (1, HEADS, columns), "att_dst": (1, HEADS, columns),
            "bias": (out,)}


SAGE_SHAPES = lambda fan_in, out, is_last: {
    "lin_l.weight": (out, fan_in), "lin_r.weight": (out, fan_in), "lin_l.bias": (out,)}
MODELS = {
    "sage": (sage, SAGE_SHAPES),
    "sage_max": (sage_max, SAGE_SHAPES),
    "gcn": (gcn, lambda fan_in, out, is_last: {"lin.weight": (out, fan_in), "bias": (out,)}),
    "gin": (gin, lambda fan_in, out, is_last: {
        "nn.lins.0.weight": (HIDDEN, fan_in), "nn.lins.0.bias": (HIDDEN,), "nn.lins.1.weight": (out, HIDDEN), "nn.lins.1.bias": (out,)}),
    "gat": (gat, gat_shapes),
}


def main():
    rng = np.random.default_rng(4)
    adjacency = make_graph(rng)
    features = rng.standard_normal((NODES, COLUMNS)).astype("f4")
    destinations, sources = np.nonzero(adjacency)
    tensors = {"sources": sources.astype("u4"), "destinations": destinations.astype("u4"), "features": features}
    dense = torch.from_numpy(adjacency).double()
    for name, (layer, shapes) in MODELS.items():
        x = torch.from_numpy(features).double()
        for i, (fan_in, out) in enumerate([(COLUMNS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, CLASSES)]):
            is_last = i == 2
            first = {}
            for parameter, shape in shapes(fan_in, out, is_last).items():
                first[parameter] = rng.uniform(-0.5, 0.5, shape).astype("f4")
                tensors[f"{name}.convs.{i}.{parameter}"] = first[parameter]
            x = layer(x, dense, {key: torch.from_numpy(value).double() for key, value in first.items()}, is_last)
            x = x if is_last else torch.relu(x)
            if i == 1:
                tensors[f"{name}.embeddings"] = x.numpy()
        tensors[f"{name}.logits"] = x.numpy()
    write_safetensors(pathlib.Path(__file__).parent / "whole_graph.safetensors", tensors,
                      {"torch": torch.__version__, "hidden": str(HIDDEN), "classes": str(CLASSES),
                       "heads": str(HEADS)})


if __name__ == "__main__":
    main()
