#!/usr/bin/env python3
"""Writes NAME.safetensors for each case at the end of this file: small models in plain PyTorch.

Run it with any PyTorch (1.13 made the committed files): python3 make_golden.py
Everything is computed in f64 from values that f32 holds exactly, so that the files are the truth that
an f32 engine is held against: inputs, first parameters, logits, loss, gradients, and the parameters
after five steps of Adam and of AdamW, both with weight decay; with a norm, also the logits of an evaluation
after those steps, and the running statistics.
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


def edges_of(block):
    """Source and destination of each edge, and the neighbors of each destination."""
    indptr, indices, dst_count, _ = block
    degrees = torch.from_numpy(np.diff(indptr.astype("i8")))
    dst = torch.repeat_interleave(torch.arange(dst_count), degrees)
    return torch.from_numpy(indices.astype("i8")), dst, degrees


def rows_of_destinations(block, layer, dst_in_src):
    return torch.from_numpy(dst_in_src.astype("i8")) if layer == 0 else torch.arange(block[2])


def sum_over(values, dst, dst_count):
    return torch.zeros(dst_count, values.shape[1], dtype=values.dtype).index_add_(0, dst, values)


def linear(parameters, name, x):
    return torch.nn.functional.linear(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))


def maximum_over(values, dst, dst_count):
    """0 for destinations without edges, as PyG's aggregation."""
    rows = [values[dst == d].amax(0) if (dst == d).any() else torch.zeros_like(values[0]) for d in range(dst_count)]
    return torch.stack(rows)


def sage_conv(parameters, i, x, blocks, dst_in_src, options):
    src, dst, degrees = edges_of(blocks[i])
    if options.get("aggregator") == "max":
        aggregate = maximum_over(x[src], dst, blocks[i][2])
    else:
        aggregate = sum_over(x[src], dst, blocks[i][2]) / degrees.clamp(min=1).to(x.dtype)[:, None]
    self_rows = x[rows_of_destinations(blocks[i], i, dst_in_src)]
    return linear(parameters, f"convs.{i}.lin_l", aggregate) + linear(parameters, f"convs.{i}.lin_r", self_rows)


def gcn_conv(parameters, i, x, blocks, dst_in_src, options):
    def loops_and_degrees(layer):
        src, dst, _ = edges_of(blocks[layer])
        rows = rows_of_destinations(blocks[layer], layer, dst_in_src)
        is_other = src != rows[dst]
        return src[is_other], dst[is_other], rows, 1 + torch.bincount(dst[is_other], minlength=len(rows))

    src, dst, rows, degrees = loops_and_degrees(i)
    src, dst = torch.cat([src, rows]), torch.cat([dst, torch.arange(len(rows))])
    if i > 0:
        source_degrees = loops_and_degrees(i - 1)[3][src]
    else:
        known = torch.zeros(blocks[i][3], dtype=torch.int64)
        known[rows] = degrees
        source_degrees = torch.where(known[src] > 0, known[src], degrees[dst])
    weights = (source_degrees * degrees[dst]).to(x.dtype) ** -0.5
    return linear(parameters, f"convs.{i}.lin", sum_over(weights[:, None] * x[src], dst, len(rows))) \
        + parameters[f"convs.{i}.bias"]


ACTIVATIONS = {"relu": torch.relu, "leaky_relu": torch.nn.functional.leaky_relu, "elu": torch.nn.functional.elu,
               "tanh": torch.tanh, "none": lambda x: x}


def activate(x, options):
    return ACTIVATIONS[options.get("activation", "relu")](x)


def gin_conv(parameters, i, x, blocks, dst_in_src, options):
    src, dst, _ = edges_of(blocks[i])
    total = x[rows_of_destinations(blocks[i], i, dst_in_src)] + sum_over(x[src], dst, blocks[i][2])
    hidden = activate(linear(parameters, f"convs.{i}.nn.lins.0", total), options)
    return linear(parameters, f"convs.{i}.nn.lins.1", hidden)


def gat_conv(parameters, i, x, blocks, dst_in_src, options):
    """PyG's GATConv with its defaults: one loop a destination, heads averaged in the last layer."""
    src, dst, _ = edges_of(blocks[i])
    rows = rows_of_destinations(blocks[i], i, dst_in_src)
    is_other = src != rows[dst]
    src, dst = torch.cat([src[is_other], rows]), torch.cat([dst[is_other], torch.arange(len(rows))])
    att_src, att_dst = parameters[f"convs.{i}.att_src"], parameters[f"convs.{i}.att_dst"]
    z = linear(parameters, f"convs.{i}.lin", x).view(-1, att_src.shape[1], att_src.shape[2])
    scores = (z * att_src).sum(-1)[src] + (z * att_dst).sum(-1)[rows][dst]
    scores = torch.nn.functional.leaky_relu(scores, 0.2)
    shares = torch.exp(scores - scores.detach().max())
    shares = shares / sum_over(shares, dst, len(rows))[dst]
    out = sum_over((shares[:, :, None] * z[src]).flatten(1), dst, len(rows))
    if i + 1 == len(blocks):
        out = out.view(len(rows), att_src.shape[1], -1).mean(1)
    return out + parameters[f"convs.{i}.bias"]


def gat_parameters(fan_in, hidden, out, options, is_last):
    heads = options["heads"]
    columns = out if is_last else out // heads
    # Large ones: where all scores of a destination have one sign, att_dst changes no share.
    return [("lin.weight", (heads * columns, fan_in), fan_in), ("att_src", (1, heads, columns), 0.25),
            ("att_dst", (1, heads, columns), 0.25), ("bias", (out,), fan_in)]


# Per model: its layer, and the parameters of one as (name, [out, in] or [out], inputs of the layer).
MODELS = {
    "sage": (sage_conv, lambda fan_in, hidden, out, options, is_last: [
        ("lin_l.weight", (out, fan_in), fan_in), ("lin_r.weight", (out, fan_in), fan_in),
        ("lin_l.bias", (out,), fan_in)]),
    "gcn": (gcn_conv, lambda fan_in, hidden, out, options, is_last: [
        ("lin.weight", (out, fan_in), fan_in), ("bias", (out,), fan_in)]),
    "gat": (gat_conv, gat_parameters),
    "gin": (gin_conv, lambda fan_in, hidden, out, options, is_last: [
        ("nn.lins.0.weight", (hidden, fan_in), fan_in), ("nn.lins.0.bias", (hidden,), fan_in),
        ("nn.lins.1.weight", (out, hidden), hidden), ("nn.lins.1.bias", (out,), hidden)]),
}


def norm_name(options, i, part):
    """As PyG's models have it: their batch norm wraps PyTorch's."""
    return f"norms.{i}.module.{part}" if options["norm"] == "batch" else f"norms.{i}.{part}"


def make_norms(options, hidden, layers):
    kinds = {"batch": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}
    if "norm" not in options:
        return torch.nn.ModuleDict()
    return torch.nn.ModuleDict({str(i): kinds[options["norm"]](hidden) for i in range(layers - 1)}).double()


def forward(model, parameters, norms, x, blocks, dst_in_src, options):
    for i in range(len(blocks)):
        self_rows = x[rows_of_destinations(blocks[i], i, dst_in_src)]
        x = MODELS[model][0](parameters, i, x, blocks, dst_in_src, options)
        if options.get("residual"):
            has_weight = f"residuals.{i}.weight" in parameters
            x = x + (linear(parameters, f"residuals.{i}", self_rows) if has_weight else self_rows)
        if i + 1 < len(blocks):
            x = activate(norms[str(i)](x) if str(i) in norms else x, options)
    return x


def make_case(model, path, seed, seed_count, fanouts, columns, hidden, classes, node_count=400, **options):
    rng = np.random.default_rng(seed)
    blocks, dst_in_src = make_blocks(rng, seed_count, fanouts, node_count)
    features = rng.standard_normal((blocks[0][3], columns)).astype("f4")
    targets = rng.integers(-1, classes, seed_count).astype("i4")
    first = {}
    for i in range(len(blocks)):
        fan_in = columns if i == 0 else hidden
        out = classes if i + 1 == len(blocks) else hidden
        for name, shape, inputs in MODELS[model][1](fan_in, hidden, out, options, i + 1 == len(blocks)):
            bound = inputs ** -0.5
            first[f"convs.{i}.{name}"] = rng.uniform(-bound, bound, shape).astype("f4")
        if options.get("residual") and fan_in != out:
            first[f"residuals.{i}.weight"] = rng.uniform(-0.3, 0.3, (out, fan_in)).astype("f4")
    if "norm" in options:
        for i in range(len(blocks) - 1):
            first[norm_name(options, i, "weight")] = rng.uniform(0.5, 1.5, hidden).astype("f4")
            first[norm_name(options, i, "bias")] = rng.uniform(-0.5, 0.5, hidden).astype("f4")

    tensors = {"features": features, "targets": targets, "dst_in_src": dst_in_src}
    for i, (indptr, indices, _, _) in enumerate(blocks):
        tensors[f"block{i}.indptr"], tensors[f"block{i}.indices"] = indptr, indices
    x = torch.from_numpy(features).double()
    labels = torch.from_numpy(targets.astype("i8"))
    settings = {"lr": 0.01, "weight_decay": 0.05, "betas": (0.9, 0.999), "eps": 1e-8}
    for kind, optimizer_type in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        parameters = {n: torch.from_numpy(v).double().requires_grad_() for n, v in first.items()}
        norms = make_norms(options, hidden, len(blocks))
        for i, norm in norms.items():
            for part in ("weight", "bias"):
                del norm._parameters[part]
                setattr(norm, part, parameters[norm_name(options, i, part)])
        optimizer = optimizer_type(parameters.values(), **settings)
        losses = []
        for step in range(5):
            optimizer.zero_grad()
            logits = forward(model, parameters, norms, x, blocks, dst_in_src, options)
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
        if norms:
            for name, value in norms.named_buffers():
                if not name.endswith("num_batches_tracked"):
                    i, part = name.split(".")
                    tensors[f"{kind}.{norm_name(options, i, part)}"] = value.numpy().copy()
            logits = forward(model, parameters, norms.eval(), x, blocks, dst_in_src, options)
            tensors[f"{kind}.evaluated"] = logits.detach().numpy()
    metadata = {"torch": torch.__version__, "columns": str(columns), "hidden": str(hidden), "classes": str(classes),
                "layers": str(len(blocks)), **{name: str(value) for name, value in options.items()}}
    write_safetensors(path, tensors, metadata)


if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    make_case("sage", folder / "sage2.safetensors", 1, 24, [3, 4], 21, 16, 7)
    make_case("sage", folder / "sage3.safetensors", 2, 10, [3, 3, 3], 12, 17, 5)
    # Few nodes: edges from a node to itself, and sources of block 0 that are destinations too.
    make_case("gcn", folder / "gcn2.safetensors", 3, 24, [3, 4], 21, 16, 7)
    make_case("gcn", folder / "gcn3.safetensors", 4, 10, [3, 5, 4], 12, 17, 5, node_count=60)
    make_case("gin", folder / "gin2.safetensors", 5, 24, [3, 4], 15, 16, 7)
    make_case("gin", folder / "gin3.safetensors", 6, 10, [3, 5, 4], 12, 11, 5, node_count=60)
    make_case("gat", folder / "gat2.safetensors", 7, 24, [3, 4], 21, 16, 7, heads=4)
    make_case("gat", folder / "gat3.safetensors", 8, 10, [3, 5, 4], 12, 15, 5, node_count=60, heads=3)
    make_case("sage", folder / "sage_max.safetensors", 19, 10, [3, 5, 4], 12, 17, 5, node_count=60, aggregator="max")
    # Equal widths and others; every norm.
    make_case("gat", folder / "gat_residual_layer.safetensors", 10, 10, [3, 5, 4], 12, 12, 5, node_count=60, heads=2,
              residual=1, norm="layer")
    make_case("sage", folder / "sage_residual_batch.safetensors", 11, 10, [3, 5, 4], 12, 17, 5, residual=1,
              norm="batch")
    make_case("gcn", folder / "gcn_batch.safetensors", 12, 10, [3, 5, 4], 12, 17, 5, node_count=60, norm="batch")
    make_case("gin", folder / "gin_residual.safetensors", 13, 10, [3, 5, 4], 12, 11, 5, residual=1)
    make_case("gat", folder / "gat_elu.safetensors", 17, 10, [3, 5, 4], 12, 15, 5, node_count=60, heads=3,
              activation="elu")
    make_case("sage", folder / "sage_tanh.safetensors", 15, 10, [3, 5, 4], 12, 17, 5, norm="layer", activation="tanh")
    make_case("gin", folder / "gin_leaky_relu.safetensors", 16, 10, [3, 5, 4], 12, 11, 5, activation="leaky_relu")
