"""Test accuracy of a trained GraphSAGE over whole neighborhoods, computed by NumPy from the files alone.

Why:    sampled validation and test batches tell two things at once, how good the weights are and how much the sampled
        neighborhoods blur them; whole neighborhoods tell the first alone.
Source: parameter names and shapes are PyG's SAGEConv (engine/nn/sage.h); files by storage/FORMAT.md and safetensors.
Memory: the features three times, and 1 GB.
"""

import json
import struct

import numpy

from labor_reference import read_csc

EDGES_AT_ONCE = 500_000


def section(path, wanted):
    """The array of one kind in a file of sections: f32 or i32."""
    with open(path, "rb") as file:
        section_count = struct.unpack_from("<I", file.read(64), 16)[0]
        table = file.read(64 * section_count)
    for at in range(0, len(table), 64):
        kind, dtype = struct.unpack_from("<IH", table, at)
        rows, columns, offset = struct.unpack_from("<QQQ", table, at + 16)
        if kind == wanted:
            return numpy.memmap(path, {5: "<i4", 9: "<f4"}[dtype], "r", offset, (rows, columns))
    raise SystemExit(f"{path} has no section of kind {wanted}")


def safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    return {name: numpy.frombuffer(data[slice(*one["data_offsets"])], "<f4").reshape(one["shape"])
            for name, one in header.items() if name != "__metadata__"}


class WholeNeighborhoods:
    def __init__(self, dataset):
        self.indptr, self.indices = read_csc(dataset / "graph.csc")
        self.features = numpy.array(section(dataset / "features.bin", 10))
        self.labels = numpy.array(section(dataset / "labels.bin", 20))[:, 0]
        self.mean_features = self.mean(self.features)  # the first layer's, the same for every model

    def mean(self, values):
        """Over each node's in-neighbors; 0 without any."""
        result = numpy.zeros_like(values)
        first = 0
        while first < len(values):
            last = max(first + 1, numpy.searchsorted(self.indptr, self.indptr[first] + EDGES_AT_ONCE, "right") - 1)
            begin, end = self.indptr[first], self.indptr[last]
            degree = numpy.diff(self.indptr[first:last + 1])
            some = numpy.flatnonzero(degree)
            if len(some):
                sums = numpy.add.reduceat(values[self.indices[begin:end]], self.indptr[first + some] - begin)
                result[first + some] = sums / degree[some, None]
            first = last
        return result

    def accuracy(self, weights, nodes):
        """Of two layers and more, relu between them. A layer's product goes first where it narrows its rows."""
        tensors = safetensors(weights)
        layers = sum(name.endswith("lin_l.weight") for name in tensors)
        hidden = self.features
        for layer in range(layers):
            left, right = (tensors[f"convs.{layer}.{side}.weight"].T for side in ("lin_l", "lin_r"))
            around = self.mean_features @ left if layer == 0 else self.mean(hidden @ left)
            hidden = around + hidden @ right + tensors[f"convs.{layer}.lin_l.bias"]
            if layer + 1 < layers:
                hidden = numpy.maximum(hidden, 0)
        nodes = nodes[self.labels[nodes] >= 0]
        return float(numpy.mean(hidden[nodes].argmax(axis=1) == self.labels[nodes]))
