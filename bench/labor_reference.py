#!/usr/bin/env python3
"""labor_reference.py: how many input rows do neighbor sampling and LABOR need? A second implementation, NumPy only.

    bench/labor_reference.py GRAPH.CSC --fanout 10,10,10 --batch-size 1000 [--train train_idx.npy] [--batches 20]

Why:    it shares nothing with the program, neither code nor random numbers, so that an error in one of them shows as
        a difference (bench/labor.py compares them). Written from storage/FORMAT.md and from the paper.
Source: Balin and Catalyurek, "Layer-Neighbor Sampling" (NeurIPS 2023). LABOR-0 draws one variate r_t a source t and
        hop, and destination s takes t where r_t <= k / degree(s) (Poisson: k neighbors on average). With a fixed number
        s takes the k neighbors of the smallest r_t (sequential Poisson sampling, Ohlsson 1998).
Memory: the graph, and some 60 bytes for each edge into one hop's destinations.

The destinations of a hop are all nodes drawn so far, the seeds first among them. Input rows are the distinct nodes
after the last hop. All samplers get the same seeds. Writes one JSON object.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np

SAMPLERS = ("neighbor", "labor", "labor_poisson", "labor_layer_dependency")


def read_csc(path):
    """graph.csc by storage/FORMAT.md, "Section table": indptr [N + 1] and indices [E], mapped, not read."""
    with open(path, "rb") as file:
        header = file.read(64)
        magic, _, _, section_count = struct.unpack_from("<8sIII", header)
        if magic != b"GNEISCSC":
            raise SystemExit(f"{path} is not a graph.csc: it begins with {magic!r}")
        table = file.read(64 * section_count)
    arrays = {}
    for at in range(0, len(table), 64):
        kind, = struct.unpack_from("<I", table, at)
        rows, _, offset = struct.unpack_from("<QQQ", table, at + 16)
        if kind in (1, 2):
            arrays[kind] = np.memmap(path, dtype="<u8" if kind == 1 else "<u4", mode="r", offset=offset, shape=(rows,))
    return np.array(arrays[1]).astype(np.int64), arrays[2]


def in_edges(graph, nodes):
    """Every edge into `nodes`: the place of its destination among them, and its source."""
    indptr, indices = graph
    begin, degree = indptr[nodes], indptr[nodes + 1] - indptr[nodes]
    first = np.cumsum(degree) - degree
    place = np.repeat(np.arange(len(nodes)), degree)
    position = np.arange(len(place)) - np.repeat(first - begin, degree)
    return place, indices[position].astype(np.int64), degree


def smallest(place, value, degree, fanout):
    """Which edges have one of the `fanout` smallest values, below 1, among those of their destination."""
    # Few edges need sorting: those up to a bound that `fanout` of a destination's values rarely fall short of. Where
    # they do, all of the destination's are sorted.
    bound = np.minimum(1.0, (fanout + 6 * np.sqrt(fanout) + 10) / np.maximum(degree, 1))
    near = np.flatnonzero(value <= bound[place])
    short = np.flatnonzero(np.bincount(place[near], minlength=len(degree)) < np.minimum(degree, fanout))
    if len(short):
        near = np.union1d(near, np.flatnonzero(np.isin(place, short)))
    near = near[np.lexsort((value[near], place[near]))]
    count = np.bincount(place[near], minlength=len(degree))
    rank = np.arange(len(near)) - np.repeat(np.cumsum(count) - count, count)
    return near[rank < fanout]


def sample(graph, seeds, fanouts, sampler, random):
    """The number of input rows of one batch, and of its edges."""
    node_count = len(graph[0]) - 1
    nodes, edges = seeds, 0
    variates = random.random(node_count)
    for hop, fanout in enumerate(fanouts):
        place, source, degree = in_edges(graph, nodes)
        if hop > 0 and sampler != "labor_layer_dependency":
            variates = random.random(node_count)
        if sampler == "neighbor":
            drawn = smallest(place, random.random(len(place)), degree, fanout)  # by edge: a uniform subset
        elif sampler == "labor_poisson":
            drawn = np.flatnonzero(variates[source] <= (fanout / np.maximum(degree, 1))[place])
        else:
            drawn = smallest(place, variates[source], degree, fanout)
        edges += len(drawn)
        fresh = np.zeros(node_count, dtype=bool)
        fresh[source[drawn]] = True
        fresh[nodes] = False
        nodes = np.concatenate([nodes, np.flatnonzero(fresh)])
    return len(nodes), edges


def mean_rows(graph, train, fanouts, batch_size, batch_count, random):
    """Of batches of one epoch: mean input rows and edges a batch and sampler. batch_count 0: all of the epoch."""
    epoch = np.array_split(random.permutation(train), range(batch_size, len(train), batch_size))
    batches = epoch[:batch_count] if batch_count else epoch
    result = {"batches": len(batches)}
    for sampler in SAMPLERS:
        counts = np.array([sample(graph, seeds, fanouts, sampler, random) for seeds in batches], dtype=float)
        error = counts[:, 0].std(ddof=1) / np.sqrt(len(batches)) if len(batches) > 1 else 0.0
        result[sampler] = {"input_rows": counts[:, 0].mean(), "input_rows_error": error, "edges": counts[:, 1].mean()}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, metavar="GRAPH.CSC")
    parser.add_argument("--fanout", default="10,10")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--train", help="train_idx.npy; default: seeds from all nodes")
    parser.add_argument("--batches", type=int, default=0, help="of an epoch, the first; 0: all")
    parser.add_argument("--seed", type=int, default=12345)
    options = parser.parse_args()
    graph = read_csc(options.graph)
    train = np.load(options.train) if options.train else np.arange(len(graph[0]) - 1)
    fanouts = [int(fanout) for fanout in options.fanout.split(",")]
    print(json.dumps(mean_rows(graph, train, fanouts, options.batch_size, options.batches,
                               np.random.default_rng(options.seed)), indent=2))


if __name__ == "__main__":
    main()
