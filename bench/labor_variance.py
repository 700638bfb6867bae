#!/usr/bin/env python3
"""labor_variance.py: how far sampled neighborhoods are from whole ones, seed by seed and over a batch together.

    bench/labor_variance.py DATASET.gneiss train_idx.npy

Why:    gradients average over a batch's seeds. Errors of independent neighborhoods cancel there; LABOR's neighborhoods
        share their sources, so that their errors may not. This measures it without training anything.
What:   two hops of means over the features, from sampled edges less from all edges: the error of a seed is its squared
        length, that of a batch the squared length of its mean times the seeds. Independent seeds have the same of both.
How:    the samplers of labor_reference.py; every sampler gets the same batches. Needs NumPy. Writes one JSON object.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from exact_accuracy import WholeNeighborhoods
from labor_reference import in_edges, smallest

BATCHES, DRAWS, BATCH_SIZE = 3, 6, 1024
# Beside the study's fanouts, those at which one sampler needs about the rows of the other (fb100_dev).
CASES = (("neighbor", "15,10"), ("labor", "15,10"), ("labor_layer_dependency", "15,10"), ("neighbor", "8,5"),
         ("labor", "32,21"))


def drawn_hops(graph, seeds, fanouts, sampler, random):
    """Of each hop: its destinations, and of each drawn edge the destination's place and the source."""
    node_count = len(graph[0]) - 1
    nodes, hops = seeds, []
    variates = random.random(node_count)
    for hop, fanout in enumerate(fanouts):
        place, source, degree = in_edges(graph, nodes)
        if hop > 0 and sampler != "labor_layer_dependency":
            variates = random.random(node_count)
        values = random.random(len(place)) if sampler == "neighbor" else variates[source]
        drawn = smallest(place, values, degree, fanout)
        hops.append((nodes, place[drawn], source[drawn]))
        fresh = np.zeros(node_count, dtype=bool)
        fresh[source[drawn]] = True
        fresh[nodes] = False
        nodes = np.concatenate([nodes, np.flatnonzero(fresh)])
    return hops, len(nodes)


def mean_over(count, place, rows):
    """The mean of each destination's rows; 0 without any. `place` ascends."""
    result = np.zeros((count, rows.shape[1]))
    first = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    result[place[first]] = np.add.reduceat(rows, first) / np.diff(np.r_[first, len(place)])[:, None]
    return result


def sampled_means(hops, features, node_count):
    """Two hops: of each seed, the mean over its neighbors of the mean over theirs."""
    (seeds, outer_place, outer_source), (nodes, inner_place, inner_source) = hops
    inner = mean_over(len(nodes), inner_place, features[inner_source])
    row_of = np.zeros(node_count, dtype=np.int64)
    row_of[nodes] = np.arange(len(nodes))
    return mean_over(len(seeds), outer_place, inner[row_of[outer_source]])


def measure(whole, graph, train, sampler, fanouts):
    features = whole.features - whole.features.mean(axis=0)
    exact = whole.mean(whole.mean(features))
    random = np.random.default_rng(7)
    rows, seed_errors, batch_errors = [], [], []
    for seeds in np.array_split(random.permutation(train)[:BATCHES * BATCH_SIZE], BATCHES):
        for _ in range(DRAWS):
            hops, row_count = drawn_hops(graph, seeds, fanouts, sampler, random)
            error = sampled_means(hops, features, len(graph[0]) - 1) - exact[seeds]
            rows.append(row_count)
            seed_errors.append((error ** 2).sum(axis=1).mean())
            batch_errors.append((error.mean(axis=0) ** 2).sum() * len(seeds))
    return {"sampler": sampler, "fanout": ",".join(map(str, fanouts)), "rows": np.mean(rows),
            "seed_error": np.mean(seed_errors), "batch_error": np.mean(batch_errors),
            "batch_error_deviation": np.std(batch_errors, ddof=1) / np.sqrt(len(batch_errors))}


def measure_all(dataset, train_file):
    whole = WholeNeighborhoods(dataset)
    graph = whole.indptr, np.array(whole.indices)
    train = np.load(train_file)
    return [measure(whole, graph, train, sampler, [int(hop) for hop in fanout.split(",")])
            for sampler, fanout in CASES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DATASET.gneiss")
    parser.add_argument("train", type=Path, metavar="train_idx.npy")
    options = parser.parse_args()
    print(json.dumps(measure_all(options.dataset, options.train), indent=2))


if __name__ == "__main__":
    main()
