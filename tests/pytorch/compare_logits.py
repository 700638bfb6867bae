#!/usr/bin/env python3
"""Loads checkpoints of gneiss into PyTorch and compares the logits of a mini-batch with the engine's.

    compare_logits.py CASES.json

CASES.json is a list of objects: `name`; `model` and the other options of SampledModel; `weights`, a checkpoint; `batch`,
a folder as `gneiss inspect` writes it; `logits`, the engine's, as .npy. Exit code 77: PyTorch or NumPy is missing;
1: a checkpoint does not fit, or logits differ by more than 1e-5 of the largest.
"""

import json
import struct
import sys
from pathlib import Path

try:
    import numpy as np
    import torch
except ImportError as missing:
    print(f"SKIPPED: python3 has no {missing.name}")
    sys.exit(77)

from pyg_models import Block, SampledModel

DIFFERENCE_MAX = 1e-5


def read_safetensors(path):
    """By the format itself: a length, a JSON header, dense little-endian data."""
    data = Path(path).read_bytes()
    length, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", (name, entry)
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[8 + length + begin:8 + length + end], "<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


def read_batch(folder):
    """Features and blocks, in f64: then every digit of difference is the engine's."""
    read = lambda name: np.load(Path(folder) / f"{name}.npy")
    features = torch.from_numpy(read("features")).double()
    blocks = []
    while (Path(folder) / f"block{len(blocks)}_indptr.npy").exists():
        prefix = f"block{len(blocks)}_"
        sources = read(prefix + "src_nodes")
        row_of = {node: row for row, node in enumerate(sources.tolist())}
        own = [row_of[node] for node in read(prefix + "dst_nodes").tolist()]
        blocks.append(Block(read(prefix + "indptr"), read(prefix + "indices"), own, len(sources)))
    return features, blocks


def difference(case):
    features, blocks = read_batch(case["batch"])
    expected = torch.from_numpy(np.load(case["logits"])).double()
    options = {key: case[key] for key in ("hidden", "heads", "aggregator", "residual", "norm", "activation")}
    model = SampledModel(case["model"], features.shape[1], classes=expected.shape[1], layers=len(blocks), **options)
    model.load_state_dict(read_safetensors(case["weights"]), strict=True)
    with torch.no_grad():
        logits = model.double().eval()(features, blocks)
    assert logits.shape == expected.shape and len(expected) > 0 and expected.abs().max() > 0, logits.shape
    return ((logits - expected).abs().max() / expected.abs().max()).item()


def main():
    cases = json.loads(Path(sys.argv[1]).read_text())
    is_good = bool(cases)
    for case in cases:
        distance = difference(case)
        is_good &= distance < DIFFERENCE_MAX
        print(f"{case['name']}: logits differ by {distance:.1e} of the largest")
    print(f"{len(cases)} checkpoints compared with PyTorch {torch.__version__}")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
