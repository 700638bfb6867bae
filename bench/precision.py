#!/usr/bin/env python3
"""Test accuracy of bf16 products beside f32: the same graph, preparation and seeds.

    bench/precision.py --datasets DIR [--models sage gcn gat] [--seeds 3] [NAME...]    NAME: of accuracy_recipes.py

Default: cora and ogbn_arxiv, sage. Writes precision.md beside itself; each graph's numbers are kept in the working
folder, and the table is made of all that is there. Exit code 1: a mean is further below f32's than --tolerance points.
"""

import argparse
import json
import sys
from pathlib import Path

import gneiss_runs
from accuracy_recipes import RECIPES
from gneiss_runs import Program, markdown_table, mean_and_deviation, option_list, percent, runs_of

PRECISIONS = ("f32", "bf16")


def measure(program, recipe, datasets, models, seeds):
    dataset = program.work / f"{recipe.name}.gneiss"
    source = Path(datasets) / (recipe.source or recipe.name)
    if not source.is_dir():
        sys.exit(f"{source} is missing; unpack the datasets and name their folder with --datasets")
    program.run("import", recipe.layout, source, dataset, "--force", *option_list(recipe.importing))
    program.run("prepare", "--dataset", dataset, "--name", "P", "--force", "--cpu-cache", "10GiB",
                *option_list(recipe.prepare))
    results = {}
    for model in models:
        for precision in PRECISIONS:
            trained = program.run("train", "--dataset", dataset, "--preparation", "P", "--model", model, "--precision",
                                  precision, "--runs", seeds, "--run", program.work / "run", "--force",
                                  *option_list(recipe.train))
            runs = runs_of(trained)
            results[f"{model}/{precision}"] = {
                "test": [run["test_accuracy"] for run in runs], "valid": [run["valid_accuracy"] for run in runs],
                "epoch_seconds": [s for run in runs for s in run["epoch_seconds"]]}
            print(f"{recipe.name}, {model}, {precision}: {percent(results[f'{model}/{precision}']['test'])}", flush=True)
    gneiss_runs.remove(dataset)
    return results


def difference(results, model):
    means = [mean_and_deviation(results[f"{model}/{precision}"]["test"])[0] for precision in PRECISIONS]
    return 100 * (means[1] - means[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--datasets", required=True, help="folder with a folder per real graph")
    parser.add_argument("--models", nargs="+", default=["sage"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=0.3)
    parser.add_argument("--gneiss", default="build/release/gneiss")
    parser.add_argument("--work", default="build/bench/precision")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=Path(__file__).with_name("precision.md"), type=Path)
    args = parser.parse_args()
    recipes = {recipe.name: recipe for recipe in RECIPES}
    program = Program(args.gneiss, args.work, args.threads)
    kept = program.work / "results"
    kept.mkdir(exist_ok=True)
    for name in args.names or ["cora", "ogbn_arxiv"]:
        if name not in recipes:
            sys.exit(f"{name} is not among the graphs; choose from {', '.join(recipes)}")
        file = kept / f"{name}.json"
        earlier = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(earlier | measure(program, recipes[name], args.datasets, args.models, args.seeds)))
    rows, is_below = [], False
    for file in sorted(kept.glob("*.json")):
        results = json.loads(file.read_text())
        for model in sorted({key.split("/")[0] for key in results}):
            f32, bf16 = (results[f"{model}/{precision}"] for precision in PRECISIONS)
            apart = difference(results, model)
            is_below |= apart < -args.tolerance
            rows.append([file.stem, model, len(f32["test"]), percent(f32["test"]), percent(bf16["test"]), f"{apart:+.2f}"])
    text = "\n".join(["# Accuracy of bf16 products beside f32", "",
                      f"Made by `bench/precision.py` ({program.version()}; {gneiss_runs.machine()}). Mean ± sample deviation "
                      "of test accuracy over seeds, in percent, each at its best validation epoch; options are those of "
                      f"`accuracy_recipes.py`. Goal: no more than {args.tolerance} points below f32.", "",
                      markdown_table(["graph", "model", "seeds", "f32", "bf16", "points"], rows)])
    args.out.write_text(text)
    print(text)
    sys.exit(1 if is_below else 0)


if __name__ == "__main__":
    main()
