#!/usr/bin/env python3
"""Exact inference in a memory control group: time and bytes against one pass per layer at the drive's speed.

    bench/exact_inference.py [--gneiss build/release/gneiss] [--work build/bench/exact] [--nodes 10000000]
                             [--cap 1GiB] [--models sage,gcn] [--runs 3]

Graph: generated, average degree 15, 128 features f32; three layers, hidden 128, 32 classes; the weights are those of one
short epoch, for they change no byte and no time. The drive is measured right before (`gneiss bench io --dataset`). The
table's shares: of the drive's time for what was moved, and for what one pass per layer would move, in the time taken.
Space: at 10 M nodes, some 35 GB.
"""

import argparse
import statistics

from gneiss_runs import CappedProgram, machine, markdown_table, option_list


def measure(program, model, cap, run):
    out = program.work / "logits.npy"
    result = program.run("infer", "--dataset", program.dataset, "--run", run, "--what", "logits", "--out", out, cap=cap)
    out.unlink()
    layers = result["layers"]
    total = lambda key: sum(layer[key] for layer in layers)
    return {"model": model, "runs": ", ".join(str(layer["runs"]) for layer in layers),
            "read": total("bytes_read"), "written": total("bytes_written"),
            "one_pass": total("one_pass_bytes_read") + total("one_pass_bytes_written"),
            "seconds": total("seconds"), "moved": total("drive_seconds") / total("seconds"),
            "one_pass_share": total("one_pass_drive_seconds") / total("seconds"),
            "peak": result["control_group_peak_bytes"]}


def row(results):
    median = lambda key: statistics.median(result[key] for result in results)
    first = results[0]
    return [first["model"], first["runs"], f"{first['read'] / 1e9:.1f} GB", f"{first['written'] / 1e9:.1f} GB",
            f"{first['one_pass'] / 1e9:.1f} GB", f"{median('seconds'):.1f} s", f"{100 * median('moved'):.0f} %",
            f"{100 * median('one_pass_share'):.0f} %", f"{max(r['peak'] for r in results) / 2**20:.0f} MiB"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gneiss", default="build/release/gneiss")
    parser.add_argument("--work", default="build/bench/exact")
    parser.add_argument("--nodes", type=int, default=10_000_000)
    parser.add_argument("--cap", default="1GiB")
    parser.add_argument("--models", default="sage,gcn")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    program = CappedProgram(args.gneiss, args.work, "exact.gneiss")
    program.clear()
    few = 2000 / args.nodes  # nodes of each split: what is trained does not matter
    program.run("generate", program.dataset, *option_list(
        {"nodes": args.nodes, "avg_degree": 15, "features": 128, "classes": 32, "train_share": few, "valid_share": few,
         "test_share": few, "seed": 7}))
    program.run("prepare", "--dataset", program.dataset, "--name", "P", "--fanout", "5,5,5", "--batch-size", "500",
                "--sample-epochs", "1")
    rows = []
    for model in args.models.split(","):
        run = program.work / f"run-{model}"
        program.run("train", "--dataset", program.dataset, "--preparation", "P", "--model", model, "--hidden", "128",
                    "--epochs", "1", "--run", run, "--force")
        results = []
        for _ in range(args.runs):
            program.run("bench", "io", "--dataset", program.dataset)
            results.append(measure(program, model, args.cap, run))
            print("; ".join(map(str, row(results[-1:]))), flush=True)  # a long way: what is known is told
        rows.append(row(results))
    print(f"{args.nodes:,} nodes, cap {args.cap} with page cache, {args.runs} runs (medians), {machine()}\n")
    print(markdown_table(["model", "runs of columns a layer", "read", "written", "one pass a layer", "time",
                          "drive's time for what was moved", "drive's time for one pass", "peak"], rows))
    program.clear()


if __name__ == "__main__":
    main()
