#!/usr/bin/env python3
"""cost_model.py: what `gneiss prepare` says beforehand, beside what then happens, on graphs of several shapes.

    bench/cost_model.py --work FOLDER [--out bench/cost_model.md]

For each configuration: the drive is measured (`gneiss bench io --dataset`), the plan is asked for (`prepare --dry-run`),
the preparation is made, an epoch is read as training reads it five times, each with the drive measured in the same run
(`gneiss bench io --preparation`), and a short training is run in a memory control group 5 % above what was foreseen. Bytes must be equal;
the median ratio of predicted to measured reading time should be within 0.85 to 1.15.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from gneiss_runs import CappedProgram, machine

# None of them has been used to write the model: a piece costs what a random read of 4 KiB does, the rest is in sequence.
CONFIGURATIONS = {
    "2 M nodes, 100 f32, static 10 %": (
        ["--nodes", "2000000", "--avg-degree", "12", "--features", "100", "--train-share", "0.01"],
        ["--fanout", "15,10", "--batch-size", "512", "--sample-epochs", "2", "--residency", "static"], 0.1, None),
    "1 M nodes, 256 f32, communities, belady 20 %, shared rows": (
        ["--nodes", "1000000", "--avg-degree", "20", "--features", "256", "--communities", "1000", "--train-share", "0.02"],
        ["--fanout", "10,10", "--batch-size", "1000", "--sample-epochs", "2", "--residency", "belady"], 0.2, 0.75),
    "4 M nodes, 64 f32, weak skew, LABOR, no cache, shared rows": (
        ["--nodes", "4000000", "--avg-degree", "10", "--features", "64", "--degree-skew", "0.3", "--train-share", "0.01"],
        ["--fanout", "10,10,5", "--batch-size", "1024", "--sample-epochs", "1", "--sampler", "labor"], 0.0, 0.75),
}


def measure(program, generate, prepare, cache_share, disk_share):
    dataset = program.dataset
    program.clear()
    program.run("generate", dataset, *generate, "--valid-share", 0.001, "--test-share", 0.001, "--seed", 11)
    program.run("bench", "io", "--dataset", dataset, "--seconds", 1)
    info = program.run("info", dataset)
    features = info["nodes"] * info["feature_dim"] * 4
    plan = ["prepare", "--dataset", dataset, "--name", "P", "--cpu-cache", int(cache_share * features), *prepare]
    if disk_share:
        unbounded = program.run(*plan, "--dry-run")
        plan += ["--disk-budget", int(disk_share * unbounded["disk_space_bytes"])]
    predicted = program.run(*plan, "--dry-run")
    made = program.run(*plan)
    reads = [program.run("bench", "io", "--dataset", dataset, "--preparation", "P", "--seconds", 0.5) for _ in range(5)]
    memory = predicted["predicted_training_memory_bytes"]
    trained = program.run("train", "--dataset", dataset, "--preparation", "P", "--epochs", 2, "--eval-every", 0, "--memory",
                          memory, "--run", program.work / "run", "--force", cap=int(memory * 1.05) + 2**24)
    ratios = [read["predicted_seconds"] / read["epoch_seconds"] for read in reads]
    return {
        "features": features,
        "group_batches": predicted["group_batches"],
        "disk_bytes": (predicted["disk_bytes_per_epoch"], made["disk_bytes_per_epoch"]),
        "rows": (predicted["input_rows"] * len(trained["epoch_seconds"]), trained["input_rows"]),
        "space": (predicted["disk_space_bytes"], made["packed_bytes"]),
        "read_ratio": statistics.median(ratios),
        "read_ratios": ratios,
        "epoch_reads": reads[0]["epoch_reads"],
        "epoch_bytes": reads[0]["epoch_bytes"],
        "prepare_seconds": (predicted["predicted_seconds_after_plan"] + predicted["sampling_seconds"], made["seconds"]),
        "packing_seconds": (predicted["predicted_packing_seconds"], made["packing_seconds"]),
        "memory": (memory, trained["planned_memory_bytes"], trained["peak_memory_bytes"]),
    }


def ratio(pair):
    return f"{pair[0] / pair[1]:.2f}"


def report(results):
    lines = ["# The cost model: said before, measured after", "", machine(), "",
             "`bench/cost_model.py`; predicted over measured. Bytes of an epoch must be equal, reading time within 15 % (median",
             "of 5, each with the drive's profile of the same run).", "",
             "| configuration | batches a group | bytes read, epoch | input rows | reading time (5 runs) | space on the drive |"
             " packing time | all of prepare | memory at training: foreseen, planned, peak |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, each in results.items():
        memory = ", ".join(f"{value / 2**20:.0f}" for value in each["memory"])
        spread = f"{min(each['read_ratios']):.2f} to {max(each['read_ratios']):.2f}"
        lines.append(f"| {name} | {each['group_batches']} | {ratio(each['disk_bytes'])} of {each['epoch_bytes'] / 1e9:.2f} GB in "
                     f"{each['epoch_reads']} reads | {ratio(each['rows'])} | {each['read_ratio']:.2f} ({spread}) | "
                     f"{ratio(each['space'])} | {ratio(each['packing_seconds'])} | {ratio(each['prepare_seconds'])} | {memory} MiB |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gneiss", default="build/release/gneiss")
    parser.add_argument("--work", default="build/bench/cost_model", help="working folder, on the drive to be measured")
    parser.add_argument("--out", default="build/bench/cost_model/cost_model.md", type=Path)
    options = parser.parse_args()
    program = CappedProgram(options.gneiss, options.work, "model.gneiss")
    results = {}
    try:
        for name, configuration in CONFIGURATIONS.items():
            results[name] = measure(program, *configuration)
            print(name, json.dumps(results[name]), flush=True)
    finally:
        program.clear()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(results))
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=2))
    print(report(results))


if __name__ == "__main__":
    sys.exit(main())
