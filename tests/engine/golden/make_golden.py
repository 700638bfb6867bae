#!/usr/bin/env python3
"""Writes sage2.safetensors and sage3.safetensors: a small GraphSAGE in plain PyTorch, step by step.

Run it with any PyTorch (1.13 made the committed files): python3 make_sage_golden.py
Everything is computed in f64 from values that f32 holds exactly, so that the files are the truth that
an f32 engine is held against: inputs, first parameters, logits, loss, gradients, and the parameters
after five steps of Adam and of AdamW, both with weight decay.
"""

import json
import pathlib
import struct

import numpy as np
import torch


def write_safetensors(path, tensors, metadata):
    names = {np.dtype("f4"): "F32", np.dtype("f8"): "F64", np.dtype("u4"): "U32", np.dtype("i4"): "I32"}
    header, data = {"__metadata__": metadata}, b""
    for name, array in tensors.items():
        array = np.ascontiguousarray(array)
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_blocks(rng, seed_count, fanouts, node_count):
    """Blocks from the input to the seeds; sources of block 0 are shuffled, as tiers would."""
    nodes = list(rng.choice(node_count, seed_count, replace=False))
    blocks = []
    for fanout in fanouts:
        place = {node: i for i, node in enumerate(nodes)}
        dst_count, indptr, indices = len(nodes), [0], []
        for _ in range(dst_count):
            for node in rng.choice(node_count, rng.integers(0, fanout + 1), replace=False):
                if node not in place:
                    place[node] = len(nodes)
                    nodes.append(node)
                indices.append(place[node])
            indptr.append(len(indices))
        blocks.insert(0, [np.array(indptr, "u4"), np.array(indices, "u4"), dst_count, len(nodes)])
    shuffled = rng.permutation(len(nodes)).astype("u4")
    blocks[0][1] = shuffled[blocks[0][1]]
    return blocks, shuffled[: blocks[0][2]]


def forward(parameters, x, blocks, dst_in_src):
    for i, (indptr, indices, dst_count, _) in enumerate(blocks):
        degrees = torch.from_numpy(np.diff(indptr.astype("i8")))
        dst = torch.repeat_interleave(torch.arange(dst_count), degrees)
        src = torch.from_numpy(indices.astype("i8"))
        total = torch.zeros(dst_count, x.shape[1], dtype=x.dtype).index_add_(0, dst, x[src])
        mean = total / degrees.clamp(min=1).to(x.dtype)[:, None]
        self_rows = x[torch.from_numpy(dst_in_src.astype("i8"))] if i == 0 else x[:dst_count]
        x = torch.nn.functional.linear(mean, parameters[f"convs.{i}.lin_l.weight"],
                                       parameters[f"convs.{i}.lin_l.bias"])
        x = x + torch.nn.functional.linear(self_rows, parameters[f"convs.{i}.lin_r.weight"])
        if i + 1 < len(blocks):
            x = torch.relu(x)
    return x


def make_case(path, seed, seed_count, fanouts, columns, hidden, classes):
    rng = np.random.default_rng(seed)
    blocks, dst_in_src = make_blocks(rng, seed_count, fanouts, 400)
    features = rng.standard_normal((blocks[0][3], columns)).astype("f4")
    targets = rng.integers(-1, classes, seed_count).astype("i4")
    first = {}
    for i in range(len(blocks)):
        fan_in = columns if i == 0 else hidden
        out = classes if i + 1 == len(blocks) else hidden
        bound = fan_in ** -0.5
        for name, shape in (("lin_l.weight", (out, fan_in)), ("lin_r.weight", (out, fan_in)),
                            ("lin_l.bias", (out,))):
            first[f"convs.{i}.{name}"] = rng.uniform(-bound, bound, shape).astype("f4")

    tensors = {"features": features, "targets": targets, "dst_in_src": dst_in_src}
    for i, (indptr, indices, _, _) in enumerate(blocks):
        tensors[f"block{i}.indptr"], tensors[f"block{i}.indices"] = indptr, indices
    x = torch.from_numpy(features).double()
    labels = torch.from_numpy(targets.astype("i8"))
    settings = {"lr": 0.01, "weight_decay": 0.05, "betas": (0.9, 0.999), "eps": 1e-8}
    for kind, optimizer_type in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        parameters = {n: torch.from_numpy(v).double().requires_grad_() for n, v in first.items()}
        optimizer = optimizer_type(parameters.values(), **settings)
        losses = []
        for step in range(5):
            optimizer.zero_grad()
            logits = forward(parameters, x, blocks, dst_in_src)
            loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1)
            loss.backward()
            losses.append(loss.item())
            if kind == "adam" and step == 0:
                tensors["logits"] = logits.detach().numpy()
                for name, value in parameters.items():
                    tensors[f"first.{name}"] = first[name]
                    tensors[f"gradient.{name}"] = value.grad.numpy().copy()
            optimizer.step()
        tensors[f"{kind}.losses"] = np.array(losses)
        for name, value in parameters.items():
            tensors[f"{kind}.{name}"] = value.detach().numpy()
    write_safetensors(path, tensors, {"torch": torch.__version__, "columns": str(columns),
                                      "hidden": str(hidden), "classes": str(classes),
                                      "layers": str(len(blocks))})


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    make_case(folder / "sage2.safetensors", 1, 24, [3, 4], 21, 16, 7)
    make_case(folder / "sage3.safetensors", 2, 10, [3, 3, 3], 12, 17, 5)
