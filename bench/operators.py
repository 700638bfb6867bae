#!/usr/bin/env python3
"""Every operator of the CPU backend beside its ceiling, as a table.

    bench/operators.py build/release [--filter REGEX] [--out operators.md]

Runs bench_operators and writes operators.md beside itself. Goals: products of more than 1 GFLOP at 80 % of a large
square product's rate, packing included; sums over neighbors at 70 % of what a plain gather of the same rows reaches.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gneiss_runs import machine, markdown_table, part_from

HERE = Path(__file__).resolve().parent
PRODUCT_GOAL, GATHER_GOAL = 0.80, 0.70


def kind_of(entry):
    if "GFLOP" in entry:
        return "product"
    if entry["name"].startswith("aggregate/"):
        return "gather"
    return "other"


def goal_of(entry):
    if kind_of(entry) == "product" and entry["GFLOP"] > 1 and "bf16" not in entry["name"]:
        return PRODUCT_GOAL
    return GATHER_GOAL if kind_of(entry) == "gather" else None


def row_of(entry):
    is_product = kind_of(entry) == "product"
    rate, ceiling, unit = (entry["GFLOP/s"], entry["ceiling_GFLOP/s"], "GFLOP/s") if is_product else \
        (entry["GB/s"], entry["ceiling_GB/s"], "GB/s")
    goal = goal_of(entry)
    verdict = "" if goal is None else f"{100 * goal:.0f} %" + ("" if entry["share"] >= goal else ", missed")
    return [entry["name"], f"{entry['ms']:.3g}", f"{rate:.1f} {unit}", f"{ceiling:.1f}", f"{100 * entry['share']:.0f} %",
            verdict]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--filter", default="-step")
    parser.add_argument("--out", default=str(HERE / "operators.md"))
    args = parser.parse_args()
    command = [str(Path(args.build) / "bench_operators"), "--benchmark_format=json", f"--benchmark_filter={args.filter}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    entries = [e for e in json.loads(done.stdout)["benchmarks"] if "share" in e]
    out = Path(args.out)
    kept = part_from(out, "## What stands out")
    lines = ["# Operators of the CPU backend beside their ceilings", "",
             "Made by `bench/operators.py`; the operators stand in `engine/compute/backend.h`, what is done to measure them "
             "in `bench/micro`. The last numbers of a name are rows, inputs and outputs of a product, else columns.", "",
             f"{machine()}; the best of many runs of each, the ceiling from the same process.", "",
             markdown_table(["operator", "ms", "rate", "ceiling", "share", "goal"], [row_of(e) for e in entries])]
    out.write_text("\n".join(lines) + ("\n" + kept if kept else ""))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
