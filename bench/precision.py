#!/usr/bin/env python3
"""Test accuracy of bf16 products beside f32, and of bf16 products over features stored in bf16: the same graph and seeds.

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

# Of products and, after the slash, of features.
WAYS = ("f32", "bf16", "bf16/bf16")


def measure(program, recipe, datasets, models, seeds):
    dataset = program.work / f"{recipe.name}.gneiss"
    source = Path(datasets) / (recipe.source or recipe.name)
    if not source.is_dir():
        sys.exit(f"{source} is missing; unpack the datasets and name their folder with --datasets")
    results = {}
    for features in ("f32", "bf16"):
        program.run("import", recipe.layout, source, dataset, "--force",
                    *option_list(recipe.importing | {"feature_dtype": features}))
        program.run("prepare", "--dataset", dataset, "--name", "P", "--force", "--cpu-cache", "10GiB",
                    *option_list(recipe.prepare))
        for model in models:
            for way in WAYS:
                if ("/" in way) == (features == "bf16"):
                    results[f"{model}/{way}"] = train(program, recipe, dataset, model, way, seeds)
    gneiss_runs.remove(dataset)
    return results


def train(program, recipe, dataset, model, way, seeds):
    trained = program.run("train", "--dataset", dataset, "--preparation", "P", "--model", model, "--precision",
                          way.split("/")[0], "--runs", seeds, "--run", program.work / "run", "--force",
                          *option_list(recipe.train))
    runs = runs_of(trained)
    result = {"test": [run["test_accuracy"] for run in runs], "valid": [run["valid_accuracy"] for run in runs],
              "epoch_seconds": [s for run in runs for s in run["epoch_seconds"]]}
    print(f"{recipe.name}, {model}, {way}: {percent(result['test'])}", flush=True)
    return result


def difference(results, model, way):
    """Points above f32, and the standard error of that."""
    pairs = list(zip(results[f"{model}/f32"]["test"], results[f"{model}/{way}"]["test"]))
    mean, deviation = mean_and_deviation([100 * (other - f32) for f32, other in pairs])
    return mean, deviation / len(pairs) ** 0.5


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
            if f"{model}/{WAYS[-1]}" not in results:
                continue
            row = [file.stem, model, len(results[f"{model}/f32"]["test"]), percent(results[f"{model}/f32"]["test"])]
            for way in WAYS[1:]:
                apart, error = difference(results, model, way)
                is_below |= apart < -args.tolerance
                row += [percent(results[f"{model}/{way}"]["test"]), f"{apart:+.2f} ± {error:.2f}"]
            rows.append(row)
    header = ["graph", "model", "seeds", "f32", "bf16", "points", "features in bf16 too", "points"]
    text = "\n".join(["# Accuracy of bf16 beside f32", "",
                      f"Made by `bench/precision.py` ({program.version()}; {gneiss_runs.machine()}). Mean ± sample deviation "
                      "of test accuracy over seeds, in percent, each at its best validation epoch; the points above f32 ± "
                      "their standard error, seed by seed; options are those of `accuracy_recipes.py`. Goal: no more than "
                      f"{args.tolerance} points below f32.", "", markdown_table(header, rows)])
    args.out.write_text(text)
    print(text)
    sys.exit(1 if is_below else 0)


if __name__ == "__main__":
    main()
