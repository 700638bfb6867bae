#!/usr/bin/env python3
"""verify_cost.py: what comparing segments with their checksums costs an epoch that computation bounds.

    bench/verify_cost.py [--pairs N]

The same run with and without `--no-verify`, one after the other and in turns first, so that a machine that slows down
slows both. Of each run the median of its epochs but the first; the difference pair by pair. Exit code 1: more than 6 %.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

from gneiss_runs import Program, machine, markdown_table, option_list, part_from

SHARE_MAX = 0.06
GENERATE = {"nodes": 200_000, "avg_degree": 15, "features": 128, "classes": 16, "train_share": 0.2, "seed": 7}
PREPARE = {"fanout": "10,10", "batch_size": 1000, "sample_epochs": 1, "cpu_cache": "4MiB", "residency": "static"}
TRAIN = {"epochs": 4, "eval_every": 0, "hidden": 256, "prefetch": 4}
MODELS = {"sage": {"model": "sage"}, "mlp, 16 wide": {"model": "mlp", "hidden": 16}}
CONCLUSION = "\n## What follows\n"

TEXT = """# What checksums cost

Made by `bench/verify_cost.py --pairs {pairs}` ({version}; {machine}; load {load} before).

The same run with and without `--no-verify`, in turns; of each run the median of its epochs but the first. "More" is
what verification adds, pair by pair: median, and the smallest and largest; "fastest runs" compares only the fastest
with and the fastest without; "more assembling" is what the assembling thread works longer, an epoch: nothing where the
computing threads check. The goal is at most 6 % of an epoch that computation bounds: those that spend their time
computing; the others are here to see where it shows.

{table}
Graph: `{generate}`, prepared with `{prepare}`, trained with `{train}`.
"""


def seconds(program, dataset, model, threads, verifies):
    """Of an epoch, the share of it that was computed, and the bytes it read."""
    program.threads = threads
    flags = {} if verifies else {"no_verify": True}
    result = program.run("train", "--dataset", dataset, "--preparation", "P", "--run", program.work / "run", "--force",
                         *option_list(TRAIN | model | flags))
    epochs = result["epochs"][1:]
    return (statistics.median(epoch["seconds"] for epoch in epochs),
            statistics.median(epoch["compute_seconds"] / epoch["seconds"] for epoch in epochs),
            epochs[0]["bytes_read"], [epoch["loss"] for epoch in result["epochs"]],
            statistics.median(epoch["assemble_seconds"] for epoch in epochs))


def measure(program, dataset, name, threads, pairs):
    more, checked_seconds, shares, read, plain_seconds, work = [], [], [], 0, [], []
    for pair in range(pairs):
        order = (True, False) if pair % 2 == 0 else (False, True)
        runs = {verifies: seconds(program, dataset, MODELS[name], threads, verifies) for verifies in order}
        if runs[True][3] != runs[False][3]:
            sys.exit(f"{name}: other losses without verification")
        more.append(runs[True][0] / runs[False][0] - 1)
        checked_seconds.append(runs[True][0])
        plain_seconds.append(runs[False][0])
        shares.append(runs[False][1])
        work.append(runs[True][4] - runs[False][4])
        read = runs[True][2]
        print(f"{name}, {threads} threads: {100 * more[-1]:+.1f} %", flush=True)
    is_bound = statistics.median(shares) > 0.9
    row = [name, threads, f"{read / 1e6:.0f} MB", f"{statistics.median(plain_seconds):.3f} s",
           f"{statistics.median(checked_seconds):.3f} s", f"{100 * statistics.median(shares):.0f} %",
           f"**{100 * statistics.median(more):+.1f} %** ({100 * min(more):+.1f} to {100 * max(more):+.1f})",
           f"{100 * (min(checked_seconds) / min(plain_seconds) - 1):+.1f} %", f"{1e3 * statistics.median(work):.0f} ms"]
    return row, statistics.median(more) if is_bound else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="default: 7")
    parser.add_argument("--gneiss", default="build/release/gneiss", help="the program")
    parser.add_argument("--work", default="build/verify_cost", help="folder for the graph; default: build/verify_cost")
    parser.add_argument("--out", default=Path(__file__).parent / "verify_cost.md", type=Path, help="the table")
    arguments = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    program = Program(arguments.gneiss, arguments.work, os.cpu_count())
    dataset = program.work / "d.gneiss"
    program.run("generate", dataset, "--force", *option_list(GENERATE))
    program.run("prepare", "--dataset", dataset, "--name", "P", *option_list(PREPARE))
    rows, worst = [], 0.0
    for name in MODELS:
        for threads in sorted({1, os.cpu_count()}):
            row, more = measure(program, dataset, name, threads, arguments.pairs)
            rows.append(row)
            worst = max(worst, more)
    header = ["model", "threads", "read an epoch", "epoch without", "epoch with", "computing", "more", "fastest runs",
              "more assembling"]
    line = lambda options: " ".join(option_list(options))
    text = TEXT.format(pairs=arguments.pairs, version=program.version(), machine=machine(), load=load,
                       table=markdown_table(header, rows), generate=line(GENERATE), prepare=line(PREPARE),
                       train=line(TRAIN))
    arguments.out.write_text(text + part_from(arguments.out, CONCLUSION))
    print(text)
    if worst > SHARE_MAX:
        sys.exit(f"checksums cost {100 * worst:.1f} % of an epoch that computation bounds, more than 6 %")


if __name__ == "__main__":
    main()
