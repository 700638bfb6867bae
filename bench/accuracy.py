#!/usr/bin/env python3
"""accuracy.py: test accuracy of sampled GraphSAGE on real graphs, features read from the drive, and of an MLP.

    bench/accuracy.py --datasets DIR [NAME...]     all of accuracy_recipes.py, or the named ones

Each graph is imported, prepared and trained with three seeds. The cpu tier holds a tenth of the rows, so that most
input rows come from the drive; the table says which share did. What each graph gave is kept in the working folder:
the table is made of all that is there, and one graph can be measured again alone. Exit code 1: a graph is below its
reference less the tolerance.
"""

import argparse
import json
import sys
from pathlib import Path

import gneiss_runs
from accuracy_recipes import RECIPES
from gneiss_runs import Program, markdown_table, mean_and_deviation, option_list, percent, runs_of

SEEDS = 3
CACHED_SHARE = 0.1  # of the feature bytes, in the cpu tier
GENERATED = {"generated_100k": 100_000, "generated_1m": 1_000_000}  # nodes
STEPS = 400  # of training on a generated graph, whatever its size: the MLP needs most of them


def train_with_seeds(program, dataset, prepare, train, model):
    prepared = program.run("prepare", "--dataset", dataset, "--name", model, "--force", *option_list(prepare))
    trained = program.run("train", "--dataset", dataset, "--preparation", model, "--model", model, "--runs", SEEDS,
                          "--run", dataset / "runs" / model, "--force", *option_list(train))
    epochs = [epoch for run in runs_of(trained) for epoch in run["epochs"]]
    return {
        "test": [run["test_accuracy"] for run in runs_of(trained)],
        "valid": [run["valid_accuracy"] for run in runs_of(trained)],
        "best_epochs": [run["best_epoch"] for run in runs_of(trained)],
        "from_drive": sum(epoch["disk_rows"] for epoch in epochs) / sum(epoch["input_rows"] for epoch in epochs),
        "bytes_per_epoch": sum(epoch["bytes_read"] for epoch in epochs) / len(epochs),
        "packed_bytes": prepared["packed_bytes"],
        "seconds": trained["seconds"],
        "options": {"prepare": prepare, "train": train},
    }


def measure(program, dataset, feature_bytes, prepare, train, mlp_train):
    cache = {"cpu_cache": int(CACHED_SHARE * feature_bytes)}
    sage = train_with_seeds(program, dataset, prepare | cache, train, "sage")
    # The MLP reads its seeds' rows only: the smallest neighborhoods spare the drive the rest.
    mlp_prepare = prepare | cache | {"fanout": ",".join("1" for _ in prepare["fanout"].split(",")), "sample_epochs": 1}
    mlp = train_with_seeds(program, dataset, mlp_prepare, train | mlp_train, "mlp")
    return {"sage": sage, "mlp": mlp}


def measure_real(program, recipe, datasets):
    dataset = program.work / f"{recipe.name}.gneiss"
    source = Path(datasets) / (recipe.source or recipe.name)
    if not source.is_dir():
        sys.exit(f"{source} is missing; unpack the datasets and name their folder with --datasets")
    imported = program.run("import", recipe.layout, source, dataset, "--force", *option_list(recipe.importing))
    result = measure(program, dataset, imported["feature_bytes"], recipe.prepare, recipe.train, recipe.mlp_train)
    gneiss_runs.remove(dataset)
    return result | {"importing": recipe.importing}


def measure_generated(program, name):
    dataset = program.work / f"{name}.gneiss"
    generated = program.run("generate", dataset, "--nodes", GENERATED[name], "--force")
    epochs = STEPS * 1000 // generated["train_nodes"]
    result = measure(program, dataset, generated["feature_bytes"], {"fanout": "10,10", "batch_size": 1000},
                     {"hidden": 128, "lr": 0.003, "epochs": epochs}, {})
    gneiss_runs.remove(dataset)
    return result | {"bounds": {key: generated[key] for key in ("best_accuracy", "best_feature_accuracy")}}


def passes(recipe, result):
    return 100 * mean_and_deviation(result["sage"]["test"])[0] >= recipe.reference - recipe.tolerance


def options_text(result):
    prepare = {key: value for key, value in result["sage"]["options"]["prepare"].items() if key != "cpu_cache"}
    parts = option_list(result.get("importing", {})) + option_list(prepare) + option_list(
        result["sage"]["options"]["train"])
    return "`" + " ".join(parts) + "`"


def real_tables(results):
    rows, options = [], []
    for recipe in RECIPES:
        if recipe.name not in results:
            continue
        result = results[recipe.name]
        sage, mlp = result["sage"], result["mlp"]
        rows.append([recipe.name, f"**{percent(sage['test'])}**", f"{recipe.reference:.1f} − {recipe.tolerance:.1f}",
                     "reached" if passes(recipe, result) else "**below**", percent(sage["valid"]),
                     f"{percent(mlp['test'])} ({recipe.mlp_reference:.1f})", f"{100 * sage['from_drive']:.0f} %",
                     f"{sage['bytes_per_epoch'] / 2**20:,.0f} MiB"])
        options.append([recipe.name, options_text(result)])
    header = ["graph", "GraphSAGE, test", "reference − tolerance", "", "validation", "MLP, test (reference)",
              "rows from the drive", "read per epoch"]
    return markdown_table(header, rows) + "\n" + markdown_table(["graph", "options"], options)


def generated_table(results):
    rows = []
    for name, nodes in GENERATED.items():
        if name not in results:
            continue
        result = results[name]
        rows.append([f"{nodes:,}", f"**{percent(result['sage']['test'])}**", percent(result["mlp"]["test"]),
                     f"{100 * result['bounds']['best_feature_accuracy']:.2f}",
                     f"{100 * result['bounds']['best_accuracy']:.2f}", f"{100 * result['sage']['from_drive']:.0f} %"])
    header = ["nodes", "GraphSAGE, test", "MLP, test", "best from features alone", "best with every class known",
              "rows from the drive"]
    return markdown_table(header, rows)


TEXT = """# Accuracy, features read from the drive

Made by `bench/accuracy.py --datasets DIR` ({version}; {machine}).

Mean ± sample deviation over seeds 0, 1 and 2, in percent. Test accuracy is that of the epoch with the best validation
accuracy, on sampled neighborhoods. The cpu tier holds a tenth of the feature bytes; "rows from the drive" is the share
of training's input rows that were read from segments. How options were chosen stands in `accuracy_recipes.py`.

## Real graphs

The references are a plain full-batch 2-layer GraphSAGE-mean and an MLP on the same splits; a graph passes at its
reference less the tolerance. The MLP is trained with the same options, without the graph. tolokers, whose metric is
ROC-AUC, is left out: the table compares accuracies. It stands in `models.md`, with the other models.

{real}"""
GENERATED_TEXT = """
## Generated graphs

`gneiss generate` with its defaults and so many nodes; fanout 10,10, batch size 1000, hidden 128, learning rate 0.003,
400 training steps. The GNN is to beat the MLP by 10 points or more and to stay under 95 %.

{table}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="graphs to measure; default: all")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the table of what is kept")
    parser.add_argument("--datasets", default="", help="folder with a folder per real graph")
    parser.add_argument("--gneiss", default="build/release/gneiss", help="the program")
    parser.add_argument("--work", default="build/bench/accuracy", help="working folder; up to 10 GB are used")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=Path(__file__).with_name("accuracy.md"), type=Path)
    options = parser.parse_args()

    recipes = {recipe.name: recipe for recipe in RECIPES}
    names = options.names or [*recipes, *GENERATED]
    for name in names:
        if name not in recipes and name not in GENERATED:
            sys.exit(f"{name} is not among the graphs; choose from {', '.join([*recipes, *GENERATED])}")
    program = Program(options.gneiss, options.work, options.threads)
    kept = program.work / "results"
    kept.mkdir(exist_ok=True)
    for name in [] if options.table else names:
        print(f"{name} ...", flush=True)
        result = (measure_generated(program, name) if name in GENERATED
                  else measure_real(program, recipes[name], options.datasets))
        (kept / f"{name}.json").write_text(json.dumps(result, indent=2))
        print(f"  sage {percent(result['sage']['test'])}, mlp {percent(result['mlp']['test'])}", flush=True)

    results = {file.stem: json.loads(file.read_text()) for file in kept.glob("*.json")}
    text = TEXT.format(version=program.version(), machine=gneiss_runs.machine(), real=real_tables(results))
    if any(name in results for name in GENERATED):
        text += GENERATED_TEXT.format(table=generated_table(results))
    options.out.write_text(text)
    print(text)
    sys.exit(0 if all(passes(recipe, results[recipe.name]) for recipe in RECIPES if recipe.name in results) else 1)


if __name__ == "__main__":
    main()
