#!/usr/bin/env python3
"""models.py: test scores of every model on real graphs, and what plain PyTorch reaches on the same sampled blocks.

    bench/models.py --datasets DIR [--python PYTHON] [NAME...]    what is missing of the table
    bench/models.py --table                                       measures nothing; writes the table of what is kept

Each graph is imported and prepared once; gneiss trains sage, gcn, gat, gin and mlp on it, three seeds each, and
torch_accuracy.py trains sage, gcn and gat on the same preparation with the same options. PYTHON has PyTorch and NumPy.
What was measured is kept in the working folder, model by model. Exit code 1: sage is below its reference less the
tolerance, or gcn or gat more than 1.5 points below PyTorch's.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import gneiss_runs
from accuracy_recipes import MODEL_TRAIN, RECIPES, TOLOKERS
from gneiss_runs import Program, markdown_table, mean_and_deviation, option_list, percent, runs_of

SEEDS = 3
MODELS = ("sage", "gcn", "gat", "gin", "mlp")
TORCH_MODELS = ("sage", "gcn", "gat")
TORCH_OPTIONS = ("hidden", "dropout", "num_heads", "aggregator", "lr", "weight_decay", "epochs", "task")
CACHED_SHARE = 0.1  # of the feature bytes, in the cpu tier
POINTS_MAX = 1.5
GRAPHS = {recipe.name: recipe for recipe in (*RECIPES, TOLOKERS) if recipe.name in MODEL_TRAIN}


def train_options(name, model):
    return GRAPHS[name].train | MODEL_TRAIN[name].get(model, {})


class Study:
    """The scores of one graph, by system and model."""

    def __init__(self, program, name, options):
        self.program, self.name, self.datasets, self.python = program, name, options.datasets, options.python
        self.torch_seeds = options.torch_seeds
        self.recipe = GRAPHS[name]
        self.dataset = program.work / f"{name}.gneiss"
        self.kept = program.work / f"{name}.json"
        self.results = json.loads(self.kept.read_text()) if self.kept.exists() else {}

    def measure(self, models, systems):
        missing = [(system, model) for system in systems for model in models
                   if f"{system} {model}" not in self.results and (system == "gneiss" or model in TORCH_MODELS)]
        if not missing:
            return
        self.prepare()
        for system, model in missing:
            result = self.train(model) if system == "gneiss" else self.train_with_torch(model)
            self.results[f"{system} {model}"] = result | {"options": train_options(self.name, model)}
            self.kept.write_text(json.dumps(self.results, indent=2))
            print(f"{self.name}: {model} by {system}: valid {percent(result['valid'])}, "
                  f"test {percent(result['test'])}", flush=True)
        gneiss_runs.remove(self.dataset)

    def prepare(self):
        source = Path(self.datasets) / (self.recipe.source or self.name)
        if not source.is_dir():
            sys.exit(f"{source} is missing; unpack the datasets and name their folder with --datasets")
        imported = self.program.run("import", self.recipe.layout, source, self.dataset, "--force",
                                    *option_list(self.recipe.importing))
        cache = {"cpu_cache": int(CACHED_SHARE * imported["feature_bytes"])}
        self.program.run("prepare", "--dataset", self.dataset, "--name", "models", "--force",
                         *option_list(self.recipe.prepare | cache))

    def train(self, model):
        trained = self.program.run("train", "--dataset", self.dataset, "--preparation", "models", "--model", model,
                                   "--runs", SEEDS, "--run", self.dataset / "runs" / model, "--force",
                                   *option_list(train_options(self.name, model)))
        metric = trained["metric"]
        return {"test": [run[f"test_{metric}"] for run in runs_of(trained)],
                "valid": [run[f"valid_{metric}"] for run in runs_of(trained)],
                "best_epochs": [run["best_epoch"] for run in runs_of(trained)], "metric": metric}

    def train_with_torch(self, model):
        options = train_options(self.name, model)
        unknown = set(options) - set(TORCH_OPTIONS)
        if unknown:
            sys.exit(f"{self.name}, {model}: torch_accuracy.py has no {', '.join(unknown)}")
        out = self.program.work / "torch.json"
        command = [self.python, "-B", Path(__file__).with_name("torch_accuracy.py"), self.dataset, "models", "--model",
                   model, "--seeds", self.torch_seeds, "--threads", self.program.threads, "--out", out, *option_list(options)]
        if subprocess.run(list(map(str, command)), check=False).returncode != 0:
            sys.exit(f"failed: {' '.join(map(str, command))}")
        told = json.loads(out.read_text())
        return {"torch": told["torch"]} | {key: [run[of] for run in told["runs"]] for key, of in (
            ("test", "test"), ("valid", "valid"), ("best_epochs", "best_epoch"))}

    def difference(self, model):
        """gneiss's mean less PyTorch's, in points; None: not both are there."""
        both = [self.results.get(f"{system} {model}") for system in ("gneiss", "torch")]
        if not all(both):
            return None
        gneiss, torch = (100 * mean_and_deviation(result["test"])[0] for result in both)
        return gneiss - torch

    def passes(self):
        sage = self.results.get("gneiss sage")
        enough = sage is None or 100 * mean_and_deviation(
            sage["test"])[0] >= self.recipe.reference - self.recipe.tolerance
        return enough and all((self.difference(model) or 0) >= -POINTS_MAX for model in ("gcn", "gat"))


def score(study, system, model):
    result = study.results.get(f"{system} {model}")
    if not result:
        return ""
    return percent(result["test"]) if len(result["test"]) > 1 else f"{100 * result['test'][0]:.2f}, one seed"


def model_table(studies):
    rows = []
    for study in studies:
        metric = study.results.get("gneiss sage", {}).get("metric", "accuracy")
        recipe = study.recipe
        rows.append([study.name, {"rocauc": "ROC-AUC"}.get(metric, metric),
                     *(score(study, "gneiss", model) for model in MODELS),
                     f"{recipe.reference:.1f} − {recipe.tolerance:.1f}", f"{recipe.mlp_reference:.1f}"])
    return markdown_table(["graph", "score", *MODELS, "sage, reference − tolerance", "mlp, reference"], rows)


def torch_table(studies):
    rows = []
    for study in studies:
        for model in TORCH_MODELS:
            difference = study.difference(model)
            if difference is not None:
                rows.append([study.name, model, score(study, "gneiss", model), score(study, "torch", model),
                             f"**{difference:+.2f}**"])
    return markdown_table(["graph", "model", "gneiss", "PyTorch", "difference, points"], rows)


def option_table(studies):
    rows = [[study.name, "all", "`" + " ".join(option_list(study.recipe.importing) + option_list(
        study.recipe.prepare)) + "`"] for study in studies]
    rows += [[study.name, model, "`" + " ".join(option_list(train_options(study.name, model))) + "`"]
             for study in studies for model in MODELS[:-1]]
    return markdown_table(["graph", "model", "options"], sorted(rows, key=lambda row: list(GRAPHS).index(row[0])))


TEXT = """# Models on real graphs, and beside PyTorch

Made by `bench/models.py --datasets DIR` ({version}; {machine}).

Test scores in percent, mean ± sample deviation of seeds 0, 1 and 2, of the epoch with the best validation score, on
sampled neighborhoods; the cpu tier holds a tenth of the feature bytes. The mlp has sage's options. References are those
of the data sets' own README: a plain full-batch 2-layer GraphSAGE-mean and an MLP on the same splits.

{models}
## The same blocks in PyTorch

`bench/torch_accuracy.py`: the models in plain PyTorch {torch} with PyG's parameters, on the mini-batches of the same
preparation, features and blocks read from its files, with the same options, optimizer and epochs, three seeds of its own
random numbers or, where it says so, one. gcn and gat are to be within {points} points.

{torch_models}
## Options

{options}"""
CONCLUSION = "\n## What follows\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="graphs; default: all of the study")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the table of what is kept")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--systems", default="gneiss,torch")
    parser.add_argument("--datasets", default="", help="folder with a folder per real graph")
    parser.add_argument("--gneiss", default="build/release/gneiss", help="the program")
    parser.add_argument("--torch-seeds", type=int, default=SEEDS, help="fewer where PyTorch takes hours")
    parser.add_argument("--python", default="/usr/bin/python3", help="one that has PyTorch and NumPy")
    parser.add_argument("--work", default="build/bench/models", help="working folder; some 3 GB are used")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=Path(__file__).with_name("models.md"), type=Path)
    options = parser.parse_args()
    for name in options.names:
        if name not in GRAPHS:
            sys.exit(f"{name} is not among the graphs; choose from {', '.join(GRAPHS)}")
    program = Program(options.gneiss, options.work, options.threads)
    studies = {name: Study(program, name, options) for name in GRAPHS}
    for name in [] if options.table else options.names or GRAPHS:
        studies[name].measure(options.models.split(","), options.systems.split(","))

    shown = [study for study in studies.values() if study.results]
    versions = {result["torch"] for study in shown for result in study.results.values() if "torch" in result}
    text = TEXT.format(version=program.version(), machine=gneiss_runs.machine(), models=model_table(shown),
                       torch=", ".join(sorted(versions)), torch_models=torch_table(shown), points=POINTS_MAX,
                       options=option_table(shown))
    options.out.write_text(text + gneiss_runs.part_from(options.out, CONCLUSION))
    print(text)
    sys.exit(0 if all(study.passes() for study in shown) else 1)


if __name__ == "__main__":
    main()
