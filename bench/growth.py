#!/usr/bin/env python3
"""growth.py: how cost grows with the graph: 1, 3 and 10 million nodes, and what ogbn-papers100M would take by the model.

    bench/growth.py --work FOLDER [--nodes 1000000,3000000,10000000 --out bench/growth.md]

Each graph: average degree 15 before symmetrizing, 128 features f32, 50,000 training nodes, fanout 10,10,10, batch size
1,024, one sampled epoch; 10 % of the rows in the cpu tier, `belady`. Generating and preparing run in a control group of
1 GiB, training (SAGE, 128 wide) in one of 2 GiB, page cache counted, files dropped from the cache first.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from gneiss_runs import CappedProgram, machine

PAPERS_NODES, PAPERS_TRAIN, PAPERS_FEATURES = 111_059_956, 1_207_179, 128  # OGB's numbers


def measure(program, nodes):
    dataset = program.dataset
    program.clear()
    generated = program.run("generate", dataset, "--nodes", nodes, "--avg-degree", 15, "--features", 128, "--train-share",
                            50_000 / nodes, "--valid-share", 0.0001, "--test-share", 0.0001, "--seed", 7, cap="1GiB")
    program.run("bench", "io", "--dataset", dataset, "--seconds", 1)
    plan = ["prepare", "--dataset", dataset, "--name", "P", "--fanout", "10,10,10", "--batch-size", 1024, "--sample-epochs", 1,
            "--no-evaluation", "--residency", "belady", "--cpu-cache", int(0.1 * nodes * 512)]
    foreseen = program.run(*plan, "--dry-run")
    prepared = program.run(*plan, cap="1GiB")
    read = program.run("bench", "io", "--dataset", dataset, "--preparation", "P", "--seconds", 1)
    trained = program.run("train", "--dataset", dataset, "--preparation", "P", "--epochs", 3, "--eval-every", 0, "--hidden",
                          128, "--run", program.work / "run", "--force", cap="2GiB")
    return {"generate": generated, "plan": foreseen, "prepare": prepared, "read": read, "train": trained}


def row(nodes, each):
    prepared, trained, read = each["prepare"], each["train"], each["read"]
    batches = prepared["train_batches"]
    edges = prepared["sampled_edges"]
    seconds = statistics.median(trained["epoch_seconds"][1:])
    return (f"| {nodes / 1e6:.0f} M | {prepared['input_rows'] / batches / 1e3:,.0f} k | "
            f"{prepared['disk_bytes_per_epoch'] / batches / 1e6:,.0f} MB | {1e3 * read['epoch_seconds'] / batches:.0f} ms "
            f"({100 * read['share_of_sequential']:.0f} %) | {1e3 * seconds / batches:,.0f} ms | {prepared['seconds']:.1f} s | "
            f"{1e9 * prepared['sampling_seconds'] / edges:.0f} + {1e9 * prepared['packing_seconds'] / edges:.0f} ns | "
            f"{prepared['control_group_peak_bytes'] / 2**20:,.0f} MiB | {trained['control_group_peak_bytes'] / 2**20:,.0f} MiB |")


def papers(largest, nodes):
    """What papers100M would need, scaled from the largest graph: its batches, hit rates and speeds."""
    prepared, read = largest["prepare"], largest["read"]
    batches = -(-PAPERS_TRAIN // 1024)
    scale = batches / prepared["train_batches"]
    rows = prepared["input_rows"] * scale
    row_bytes = PAPERS_FEATURES * 4
    profile = read["drive_profile"]
    speed, writing = read["sequential_bytes_per_second"], profile["write_bytes_per_second"]
    features = PAPERS_NODES * row_bytes
    sampling = prepared["sampling_seconds"] * scale
    lines = []
    for choice in largest["plan"]["other_budgets"]:
        if choice["disk_budget_bytes"] != 0:
            continue  # groups of batches share by the graph's size: not to be scaled
        share = choice["cpu_cache_bytes"] / (nodes * row_bytes)
        read_bytes = choice["disk_bytes_per_epoch"] * scale
        packing = features / speed + read_bytes / writing
        lines.append(f"| {100 * share:.0f} % = {share * features / 2**30:.1f} GiB | {read_bytes / rows / row_bytes:.2f} | "
                     f"{read_bytes / 1e9:,.0f} GB | {read_bytes / speed / 60:.1f} min | {read_bytes / 2**30:,.0f} GiB | "
                     f"{(sampling + packing) / 60:.0f} min |")
    compute = statistics.median(largest["train"]["epoch_seconds"][1:]) * scale
    return rows / batches, compute, "\n".join(lines)


TEXT = """# How cost grows

{machine}. `bench/growth.py`: average degree 15 before symmetrizing, 128 features f32, fanout 10,10,10, batch size 1,024,
49 batches an epoch, 10 % of the rows in the cpu tier (`belady`); generating and preparing in a control group of 1 GiB,
training SAGE 128 wide in one of 2 GiB, page cache counted. Reading: of an epoch alone, and its share of the drive's
sequential speed in the same run. Preparing: all of it, then sampling and packing for each sampled edge.

| nodes | rows a batch | from disk a batch | reading a batch | training a batch | preparing | for each sampled edge | peak, preparing | peak, training |
|---|---|---|---|---|---|---|---|---|
{rows}

## ogbn-papers100M, by the model

{nodes:,} nodes, {train:,} to train on, 128 features f32 = {features:.0f} GB; not measured, but scaled from the largest graph above: as
many rows a batch ({batch_rows:,.0f} k, of {batches:,} batches), the same share of them found in a cache of the same share of the rows,
this drive ({speed:.2f} GB/s read, {writing:.2f} GB/s written) and this sampler. The graph above is drawn with a power law and shares
no more than that with papers100M. Two cores compute an epoch in {compute:.0f} min; the reading below hides behind that.

| cpu tier | share of rows read | read an epoch | reading | space a sampled epoch | preparing |
|---|---|---|---|---|---|
{papers}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gneiss", default="build/release/gneiss")
    parser.add_argument("--work", default="build/bench/growth", help="working folder, on the drive to be measured")
    parser.add_argument("--out", default="build/bench/growth/growth.md", type=Path)
    parser.add_argument("--nodes", default="1000000,3000000,10000000")
    options = parser.parse_args()
    program = CappedProgram(options.gneiss, options.work, "growth.gneiss")
    results = {}
    try:
        for nodes in map(int, options.nodes.split(",")):
            results[nodes] = measure(program, nodes)
            print(row(nodes, results[nodes]), flush=True)
    finally:
        program.clear()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=2))
    nodes, largest = max(results), results[max(results)]
    batch_rows, compute, lines = papers(largest, nodes)
    text = TEXT.format(machine=machine(), rows="\n".join(row(n, each) for n, each in results.items()), nodes=PAPERS_NODES,
                       train=PAPERS_TRAIN, features=PAPERS_NODES * PAPERS_FEATURES * 4 / 1e9, batch_rows=batch_rows / 1e3,
                       batches=-(-PAPERS_TRAIN // 1024), speed=largest["read"]["sequential_bytes_per_second"] / 1e9,
                       writing=largest["read"]["drive_profile"]["write_bytes_per_second"] / 1e9, compute=compute / 60,
                       papers=lines)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
