#!/usr/bin/env python3
"""PyTorch's products for the shapes that bench_gpu measured, in the same precisions, on the same device.

    torch_products.py BENCH_GPU.json OUT.json [--seconds 0.03]

f32 and tf32 take f32 operands. bf16 is measured twice: with operands that are bf16 already, and from f32 operands, which
are narrowed first and whose product is widened to f32 again, as ours does. The same is timed as on our side: the median
of five samples by the device's events, each of many products.
"""

import argparse
import json
import statistics

import torch

DEVICE = "cuda"


def seconds_of(work, sample_seconds):
    def run(times):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(times):
            work()
        ended.record()
        torch.cuda.synchronize()
        return began.elapsed_time(ended) * 1e-3 / times

    run(1)
    times = max(1, min(10000, round(sample_seconds / max(run(1), 1e-7))))
    return statistics.median(run(times) for _ in range(5))


def operands(side, x, weight, z):
    """Of what our backend computes: out = x w^T, dx = dz w, dw = dz^T x."""
    return {"forward": (x, weight.t()), "input gradient": (z, weight), "weight gradient": (z.t(), x)}[side]


def measure(entry, sample_seconds):
    rows, inputs, outputs = entry["rows"], entry["inputs"], entry["outputs"]
    tensors = [torch.rand(shape, device=DEVICE) - 0.5 for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))]
    torch.set_float32_matmul_precision("high" if entry["precision"] == "tf32" else "highest")
    operations = 2.0 * rows * inputs * outputs
    rate = lambda work: operations / seconds_of(work, sample_seconds)
    left, right = operands(entry["side"], *tensors)
    if entry["precision"] != "bf16":
        return {"operations_per_second": rate(lambda: torch.mm(left, right))}
    narrow_left, narrow_right = left.bfloat16(), right.bfloat16()
    return {"operations_per_second": rate(lambda: torch.mm(left.bfloat16(), right.bfloat16()).float()),
            "operations_per_second_of_bf16_operands": rate(lambda: torch.mm(narrow_left, narrow_right))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench_gpu")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, default=0.03, help="of each sample")
    args = parser.parse_args()
    results = []
    with open(args.bench_gpu, encoding="utf-8") as file:
        entries = json.load(file)["products"]
    for entry in entries:
        result = measure(entry, args.seconds)
        results.append({key: entry[key] for key in ("precision", "shape", "side")} | result)
        print(f"{entry['precision']:5} {entry['shape']:13} {entry['side']:16} "
              f"{result['operations_per_second'] * 1e-9:10.0f} GFLOP/s", flush=True)
    with open(args.out, "w", encoding="utf-8") as file:
        json.dump({"library": f"PyTorch {torch.__version__}", "products": results}, file, indent=2)


if __name__ == "__main__":
    main()
