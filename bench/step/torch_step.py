#!/usr/bin/env python3
"""The steps of training_step.cc by PyTorch: one model, one way, on the batches that `gneiss inspect` wrote.

    torch_step.py --batches FOLDER... --weights FILE --model sage --path default|csr --steps 24 --threads 2 --summary F

Starts from the weights in FILE. The first pass over the batches warms up and gives the losses, the steps after it are
timed; then one more pass under torch.profiler says which share of a step its dense products take.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import torch_models
from torch_batches import read_batch, read_safetensors

DENSE = ("aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::addmv")


def make_step(model, optimizer):
    def step(batch, ready):
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(batch, ready), batch.labels, ignore_index=-1)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step


def is_dense_product(event):
    """The outermost event of a dense product; those inside a CSR product are none."""
    if event.name not in DENSE:
        return False
    parent = event.cpu_parent
    while parent is not None:
        if parent.name in DENSE or parent.name == "csr product" or "sparse" in parent.name:
            return False
        parent = parent.cpu_parent
    return True


def product_share(step, batches, ready):
    """Of a step's time in dense products, over one pass."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        begin = time.perf_counter()
        for batch, made in zip(batches, ready):
            step(batch, made)
        whole = time.perf_counter() - begin
    return sum(e.cpu_time_total for e in profile.events() if is_dense_product(e)) * 1e-6 / whole


def fastest_product(batch):
    """Which of torch's CSR products is faster here, on the largest block."""
    block = batch.blocks[0]
    values = torch.ones(len(block.indices))
    best = {}
    for name in torch_models.PRODUCTS:
        torch_models.choose_product(name)
        seconds = []
        for _ in range(4):
            begin = time.perf_counter()
            torch_models.csr_product(block.indptr, block.indices, values, (block.dst_count, block.src_count),
                                     batch.features)
            seconds.append(time.perf_counter() - begin)
        best[name] = min(seconds)
    name = min(best, key=best.get)
    torch_models.choose_product(name)
    return name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", choices=["sage", "gcn", "gat"], required=True)
    parser.add_argument("--path", choices=["default", "csr"], required=True)
    parser.add_argument("--num-heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: the processor's time, for a shared machine")
    parser.add_argument("--summary", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batches = [read_batch(folder) for folder in args.batches]
    weights = read_safetensors(args.weights)
    hidden = weights["convs.0.bias" if "convs.0.bias" in weights else "convs.0.lin_l.bias"].shape[0]
    last = len(batches[0].blocks) - 1
    classes = weights[f"convs.{last}.bias" if f"convs.{last}.bias" in weights else f"convs.{last}.lin_l.bias"].shape[0]
    widths = [batches[0].features.shape[1]] + [hidden] * last + [classes]
    product = fastest_product(batches[0]) if args.path == "csr" else None
    kind = torch_models.DefaultModel if args.path == "default" else torch_models.CsrModel
    model = kind(args.model, widths, args.num_heads)
    model.load_state_dict(weights)
    ready = [model.prepare(batch) for batch in batches]
    step = make_step(model, torch.optim.Adam(model.parameters(), lr=args.lr))
    losses = [step(batch, made) for batch, made in zip(batches, ready)]
    now = time.perf_counter if args.clock == "wall" else lambda: time.process_time() / args.threads
    seconds = []
    for i in range(args.steps):
        begin = now()
        step(batches[i % len(batches)], ready[i % len(batches)])
        seconds.append(now() - begin)
    share = product_share(step, batches, ready)
    print(f"{args.model}, {args.path}: {statistics.median(seconds) * 1e3:.1f} ms a step in the median, "
          f"{100 * share:.0f} % of it dense products; first losses " + " ".join(f"{x:.5f}" for x in losses))
    with open(args.summary, "w", encoding="utf-8") as file:
        json.dump({"library": torch_models.library(), "model": args.model, "path": args.path, "losses": losses,
                   "step_seconds": seconds, "product_share": share, "csr_product": product}, file)


if __name__ == "__main__":
    main()
