#!/usr/bin/env python3
"""Test accuracy by the CPU and by a CUDA device: the same graphs, preparations and seeds.

    device_accuracy.py --datasets DIR --gneiss PROGRAM --work DIR --json FILE [--seeds 3] [--model sage] [NAME...]

NAME: of accuracy_recipes.py; default: those of cora, citeseer, amazon_computers and ogbn_arxiv that lie in DIR. The file
is written after each graph, so that what a time limit leaves is there.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import gneiss_runs  # noqa: E402
from accuracy_recipes import RECIPES  # noqa: E402
from gneiss_runs import Program, option_list, runs_of  # noqa: E402

NAMES = ("cora", "citeseer", "amazon_computers", "ogbn_arxiv")
DEVICES = ("cpu", "cuda")


def measure(program, recipe, source, args):
    dataset = program.work / f"{recipe.name}.gneiss"
    program.run("import", recipe.layout, source, dataset, "--force", *option_list(recipe.importing))
    program.run("prepare", "--dataset", dataset, "--name", "P", "--force", "--cpu-cache", "10GiB",
                *option_list(recipe.prepare))
    results = {}
    for device in DEVICES:
        train = dict(recipe.train)
        if args.epochs:
            train["epochs"] = args.epochs
        trained = program.run("train", "--dataset", dataset, "--preparation", "P", "--model", args.model, "--device",
                              device, "--runs", args.seeds, "--run", program.work / "run", "--force", *option_list(train))
        runs = runs_of(trained)
        results[device] = {"test": [run["test_accuracy"] for run in runs],
                           "epoch_seconds": [s for run in runs for s in run["epoch_seconds"]]}
        print(f"{recipe.name}, {args.model}, {device}: {gneiss_runs.percent(results[device]['test'])}", flush=True)
    gneiss_runs.remove(dataset)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--datasets", required=True)
    parser.add_argument("--gneiss", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--model", default="sage")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    program = Program(args.gneiss, args.work, args.threads)
    results = {}
    for recipe in RECIPES:
        source = Path(args.datasets) / (recipe.source or recipe.name)
        if recipe.name not in (args.names or NAMES) or not source.is_dir():
            continue
        results[recipe.name] = measure(program, recipe, source, args)
        Path(args.json).write_text(json.dumps({"model": args.model, "graphs": results}, indent=2))
    if not results:
        sys.exit(f"none of {', '.join(args.names or NAMES)} lies in {args.datasets}")


if __name__ == "__main__":
    main()
