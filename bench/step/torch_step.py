#!/usr/bin/env python3
"""The steps of training_step.cc by PyTorch: one model, on the batches that `gneiss inspect` wrote.

    torch_step.py --batches FOLDER... --weights FILE --model sage --ways default/f32 --steps 24 --threads 2 --summary F
                  [--device cuda]

Ways: PATH/PRECISION, default or csr, f32, tf32 or bf16; each starts from the weights in FILE. The first pass over the batches warms up and gives the losses, the steps after it are
timed; then, on the CPU, one more pass under torch.profiler says which share of a step its dense products take. With
--device cuda all batches lie in the device's memory, and events say how long the steps took together: the host asks for
them without a look at a loss, and waits once. tf32 is torch's own, bf16 its autocast. The
summary is a list, a way an entry.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import torch_models
from torch_batches import read_batch, read_safetensors, to_device

DENSE = ("aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::addmv")


def make_step(model, optimizer, device, precision):
    def step(batch, ready):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(batch, ready)
        loss = F.cross_entropy(logits.float(), batch.labels, ignore_index=-1)
        loss.backward()
        optimizer.step()
        return loss.detach()
    return step


def wait_for(device):
    if device == "cuda":
        torch.cuda.synchronize()


def step_seconds(step, batches, ready, args):
    """Of each step; on a device their mean, for it is waited for once."""
    once = lambda i: step(batches[i % len(batches)], ready[i % len(batches)])
    if args.device == "cuda":
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        began.record()
        for i in range(args.steps):
            once(i)
        ended.record()
        torch.cuda.synchronize()
        return [began.elapsed_time(ended) * 1e-3 / args.steps]
    now = time.perf_counter if args.clock == "wall" else lambda: time.process_time() / args.threads
    seconds = []
    for i in range(args.steps):
        begin = now()
        once(i).item()
        seconds.append(now() - begin)
    return seconds


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


def fastest_product(batch, device):
    """Which of torch's CSR products is faster here, on the largest block; a device may not have all of them."""
    block = batch.blocks[0]
    values = torch.ones(len(block.indices), device=device)
    best = {}
    for name in torch_models.PRODUCTS:
        torch_models.choose_product(name)
        seconds = []
        try:
            for _ in range(4):
                wait_for(device)
                begin = time.perf_counter()
                torch_models.csr_product(block.indptr, block.indices, values, (block.dst_count, block.src_count),
                                         batch.features)
                wait_for(device)
                seconds.append(time.perf_counter() - begin)
        except (RuntimeError, NotImplementedError) as error:
            print(f"{name}: not on {device}: {str(error).splitlines()[0]}")
            continue
        best[name] = min(seconds)
    name = min(best, key=best.get)
    torch_models.choose_product(name)
    return name


def widths_of(weights, batch):
    columns = lambda layer: weights.get(f"convs.{layer}.bias", weights.get(f"convs.{layer}.lin_l.bias")).shape[0]
    last = len(batch.blocks) - 1
    return [batch.features.shape[1]] + [columns(0)] * last + [columns(last)]


def measure(way, batches, weights, args):
    """`batches` lie in the host's memory."""
    path, precision = way.split("/")
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    kind = torch_models.DefaultModel if path == "default" else torch_models.CsrModel
    model = kind(args.model, widths_of(weights, batches[0]), args.num_heads)
    model.load_state_dict(weights)
    model.to(args.device)
    ready = [to_device(model.prepare(batch), args.device) for batch in batches]
    batches = [to_device(batch, args.device) for batch in batches]
    product = fastest_product(batches[0], args.device) if path == "csr" else None
    step = make_step(model, torch.optim.Adam(model.parameters(), lr=args.lr), args.device, precision)
    losses = [step(batch, made).item() for batch, made in zip(batches, ready)]
    seconds = step_seconds(step, batches, ready, args)
    share = product_share(step, batches, ready) if args.device == "cpu" else None
    of_it = f", {100 * share:.0f} % of it dense products" if share is not None else ""
    print(f"{args.model}, {path}, {precision}: {statistics.median(seconds) * 1e3:.2f} ms a step in the median{of_it}; "
          "first losses " + " ".join(f"{x:.5f}" for x in losses), flush=True)
    return {"library": torch_models.library(), "model": args.model, "path": path, "device": args.device,
            "precision": precision, "losses": losses, "step_seconds": seconds, "product_share": share,
            "csr_product": product}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", nargs="+", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", choices=["sage", "gcn", "gat"], required=True)
    # torch's CSR product takes no autocast.
    parser.add_argument("--ways", nargs="+", required=True,
                        choices=["default/f32", "default/tf32", "default/bf16", "csr/f32", "csr/tf32"])
    parser.add_argument("--num-heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: the processor's time, for a shared machine")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--summary", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batches = [read_batch(folder) for folder in args.batches]
    weights = read_safetensors(args.weights)
    results = [measure(way, batches, weights, args) for way in args.ways]
    with open(args.summary, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main()
