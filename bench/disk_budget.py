#!/usr/bin/env python3
"""disk_budget.py: what an epoch's reading costs by the space on the drive, on a graph with communities and on one without.

    bench/disk_budget.py --work FOLDER [--nodes 10000000 --budgets 1.5,3,5,10 --out bench/disk_budget.md]

For each graph and cache: the drive is measured, and gneiss prepares within each budget; an epoch is read, `--runs` times.
On the batches of the first, bench_shared_layout counts what other layouts would read (random order; DiskGNN's: segments,
MinHash, copies of rows that few batches read, searched for each budget). Budgets beyond `--most-space` are
only counted. Preparing runs in a control group of 1 GiB.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gneiss_runs import CappedProgram, machine

GRAPHS = {"without communities": [], "with 2,000 communities": ["--communities", 2000]}


def prepare(program, options, cache, budget):
    row_bytes = 4 * options.features
    arguments = ["prepare", "--dataset", program.dataset, "--name", "P", "--force", "--fanout", "10,10,10", "--batch-size", 1024,
                 "--sample-epochs", options.sample_epochs, "--no-evaluation", "--residency", "belady", "--cpu-cache",
                 int(cache * options.nodes * row_bytes)]
    if budget:
        arguments += ["--disk-budget", int(budget * options.nodes * row_bytes)]
    return program.run(*arguments, cap="1GiB")


def read(program, options):
    runs = [program.run("bench", "io", "--dataset", program.dataset, "--preparation", "P", "--seconds", 0.5)
            for _ in range(options.runs)]
    return sorted(runs, key=lambda run: run["epoch_seconds"])[(options.runs - 1) // 2]


def count(program, options):
    return subprocess.run([options.layouts, program.dataset, "P", options.group_sizes, options.budgets], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def measure(program, options, graph, caches):
    program.clear()
    program.run("generate", program.dataset, "--nodes", options.nodes, "--avg-degree", 15, "--features", options.features,
                "--train-share", 50_000 / options.nodes, "--valid-share", 0.0001, "--test-share", 0.0001, "--seed", 7, *graph)
    program.run("bench", "io", "--dataset", program.dataset, "--seconds", 1)
    features = 4 * options.features * options.nodes
    result = []
    for cache in caches:
        counted, points = None, []
        for budget in [*sorted(map(float, options.budgets.split(","))), None]:
            is_all = points and points[-1]["group_batches"] == 1
            if is_all or (options.most_space and (budget is None or budget > options.most_space)):
                break
            prepared = prepare(program, options, cache, budget)
            run = read(program, options)
            if not counted:
                counted = count(program, options)
                print(counted, flush=True)
            needed = prepared["disk_rows"] * 4 * options.features
            points.append({"budget": budget, "space": prepared["packed_bytes"] / features,
                           "group_batches": prepared["group_batches"], "bytes": prepared["disk_bytes_per_epoch"] / needed,
                           "pieces": prepared["disk_pieces_per_epoch"] / prepared["train_batches"],
                           "seconds": run["epoch_seconds"], "share": run["share_of_sequential"],
                           "least": run["epoch_seconds"] * run["sequential_bytes_per_second"] / needed})
            print(cache, json.dumps(points[-1]), flush=True)
        result.append({"cache": cache, "points": points, "counted": counted})
    return result


def report(options, results):
    epochs = f"{options.sample_epochs} sampled epoch{'s' * (options.sample_epochs > 1)}"
    lines = ["# Reading by the space on the drive", "",
             f"{machine()}. `bench/disk_budget.py --nodes {options.nodes}`: average degree 15, {options.features} features f32, "
             "fanout 10,10,10,",
             f"{epochs} of 49 batches of 1,024 seeds, `--residency belady`; preparing in a control group of 1 GiB. Space: all "
             "that the",
             "preparation takes, over the features. Over the least: the time that an epoch's reading took (mean of all sampled "
             "ones; of",
             f"{options.runs} runs the median), over that of the bytes needed at the drive's sequential speed of the same run.", ""]
    for graph, caches in results.items():
        for each in caches:
            lines += [f"## {graph}, {100 * each['cache']:.0f} % of the rows in the cpu tier", "",
                      "| budget / features | space | batches a group | read / needed | reads apart, a batch | reading an epoch | over the least |",
                      "|---|---|---|---|---|---|---|"]
            for point in each["points"]:
                budget = "as much as it takes" if point["group_batches"] == 1 else f"{point['budget']:g}"
                lines.append(f"| {budget} | {point['space']:.2f} | {point['group_batches']} | {point['bytes']:.3f} | "
                             f"{point['pieces']:.0f} | {point['seconds']:.2f} s | {point['least']:.2f} |")
            lines += ["", "Other layouts, counted on the same batches (`bench_shared_layout`):", "", each["counted"]]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gneiss", default="build/release/gneiss")
    parser.add_argument("--layouts", default="build/release/bench_shared_layout")
    parser.add_argument("--work", default="build/bench/disk_budget", help="working folder, on the drive to be measured")
    parser.add_argument("--out", default="build/bench/disk_budget/disk_budget.md", type=Path)
    parser.add_argument("--nodes", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--sample-epochs", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--budgets", default="1.5,3,5,10")
    parser.add_argument("--most-space", type=float, help="budgets up to this are prepared and read, others only counted")
    parser.add_argument("--group-sizes", default="1,6,12,17,25,49")
    parser.add_argument("--caches", default="0.1,0")
    options = parser.parse_args()
    if options.most_space and options.most_space < min(map(float, options.budgets.split(","))):
        parser.error("--most-space leaves no budget to prepare")
    program = CappedProgram(options.gneiss, options.work, "budget.gneiss")
    results = {}
    try:
        for name, graph in GRAPHS.items():
            results[name] = measure(program, options, graph, list(map(float, options.caches.split(","))))
    finally:
        program.clear()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=2))
    options.out.write_text(report(options, results))
    print(report(options, results))


if __name__ == "__main__":
    sys.exit(main())
