"""Sampled batches as `gneiss inspect` wrote them, and weights as Gneiss starts from: NumPy and torch alone.

Destinations of block 0 are made its first sources, as PyG's NeighborLoader has them: features and source ids are
renumbered once, when a batch is read. What a step could have found ready is made here, off the clock: edges as PyG
wants them, and as CSR with its transposition.
"""

import json
import struct
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass
class Block:
    dst_count: int
    src_count: int
    edge_index: torch.Tensor  # [2, edges] int64: source, destination
    indptr: torch.Tensor  # [dst + 1] int32
    indices: torch.Tensor  # [edges] int32
    back_indptr: torch.Tensor  # by source, [src + 1] int32
    back_indices: torch.Tensor  # [edges] int32: destinations
    back_edges: torch.Tensor  # [edges] int64: which edge each one is


@dataclass
class Batch:
    features: torch.Tensor  # [src_count of block 0, columns] f32
    labels: torch.Tensor  # [seeds] int64
    blocks: list


def make_block(indptr, indices, src_count):
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    dst = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.argsort(indices, kind="stable")
    back_indptr = np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=src_count))])
    as_i32 = lambda array: torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32))
    return Block(dst_count=len(indptr) - 1, src_count=src_count,
                 edge_index=torch.from_numpy(np.stack([indices, dst])), indptr=as_i32(indptr), indices=as_i32(indices),
                 back_indptr=as_i32(back_indptr), back_indices=as_i32(dst[order]),
                 back_edges=torch.from_numpy(order.astype(np.int64)))


def read_batch(folder):
    """One folder of `gneiss inspect --out`."""
    folder = Path(folder)
    load = lambda name: np.load(folder / f"{name}.npy")
    inputs = load("input_nodes")
    place = np.empty(int(inputs.max()) + 1, np.int64)
    place[inputs] = np.arange(len(inputs))
    dst_rows = place[load("block0_dst_nodes")]
    is_dst = np.zeros(len(inputs), bool)
    is_dst[dst_rows] = True
    order = np.concatenate([dst_rows, np.flatnonzero(~is_dst)])  # order[new id] = id in the file
    new_id = np.empty_like(order)
    new_id[order] = np.arange(len(order))
    blocks = []
    for hop in range(len(list(folder.glob("block*_indptr.npy")))):
        indices = load(f"block{hop}_indices")
        indices = new_id[indices] if hop == 0 else indices
        blocks.append(make_block(load(f"block{hop}_indptr"), indices, len(load(f"block{hop}_src_nodes"))))
    features = torch.from_numpy(np.ascontiguousarray(load("features")[order], dtype=np.float32))
    return Batch(features=features, labels=torch.from_numpy(load("labels").astype(np.int64)), blocks=blocks)


def to_device(what, device):
    """A batch, or what was made ready for it, with every tensor on `device`."""
    if isinstance(what, torch.Tensor):
        return what.to(device)
    if isinstance(what, (list, tuple)):
        return type(what)(to_device(part, device) for part in what)
    if is_dataclass(what):
        return type(what)(**{field.name: to_device(getattr(what, field.name), device) for field in fields(what)})
    return what


def read_safetensors(path):
    """{name: f32 tensor}; the format is a length, a JSON header, and the bytes."""
    data = Path(path).read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + length + begin)
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors
