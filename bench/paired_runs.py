"""Test accuracy by the way of preparing: the same graph, model and seeds, only options of `gneiss prepare` differ.

Why:    a difference of tenths of a point shows only between runs that share all else, seed by seed.
Keeps:  every run in RESULTS/GRAPH.json, under "VARIANT/SEED", and repeats none; scripts that name a variant alike
        share its runs.
Needs:  NumPy, to count what whole neighborhoods predict.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy

import gneiss_runs
from accuracy_recipes import RECIPES, Recipe
from gneiss_runs import mean_and_deviation, option_list, percent

SEEDS = (0, 1, 2)
# Many test nodes, so that a tenth of a point is 30 of them and not 2.
GENERATE = {"nodes": 100_000, "valid_share": 0.05, "test_share": 0.3}

@dataclass(frozen=True)
class Setting:
    """What all runs of one study share."""
    recipe: Recipe | None  # None: generated
    prepare: dict
    train: dict


RECIPES_BY_NAME = {recipe.name: recipe for recipe in RECIPES}
FB100, ARXIV = RECIPES_BY_NAME["fb100_dev"], RECIPES_BY_NAME["ogbn_arxiv"]
# Epochs: until validation accuracy has almost stopped rising. Small neighborhoods: the less of a neighborhood a batch holds,
# the more it matters how that part is drawn. The generated graph has few training nodes, so small batches.
SETTINGS = {
    "fb100_dev": Setting(FB100, {"fanout": "15,10", "batch_size": 1024}, FB100.train | {"epochs": 10}),
    "ogbn_arxiv": Setting(ARXIV, {"fanout": "15,10", "batch_size": 1024}, ARXIV.train | {"epochs": 10}),
    "generated_100k": Setting(None, {"fanout": "10,10", "batch_size": 256}, {"hidden": 128, "lr": 0.003, "epochs": 15}),
    # With a rate that falls to nothing, all runs end on their plateau.
    "fb100_dev_cosine": Setting(FB100, {"fanout": "15,10", "batch_size": 1024},
                                FB100.train | {"epochs": 20, "lr_schedule": "cosine"}),
}


def make_dataset(program, name, datasets, target):
    """Returns the bytes of the features."""
    recipe = SETTINGS[name].recipe
    if not recipe:
        return program.run("generate", target, "--force", *option_list(GENERATE))["feature_bytes"]
    source = Path(datasets) / (recipe.source or recipe.name)
    if not source.is_dir():
        sys.exit(f"{source} is missing; unpack the datasets and name their folder with --datasets")
    return program.run("import", recipe.layout, source, target, "--force",
                       *option_list(recipe.importing))["feature_bytes"]


class PairedRuns:
    def __init__(self, program, name, datasets):
        self.program = program
        self.name = name
        self.datasets = datasets
        self.dataset = program.work / f"{name}.gneiss"
        self.test_nodes, self.test_labels = None, None
        self.kept = program.work / f"{name}.json"
        self.results = json.loads(self.kept.read_text()) if self.kept.exists() else {}

    def measure(self, variants, seeds=SEEDS):
        """`variants`: what differs in `prepare`, by name. Seed after seed, so that a stopped study has whole pairs."""
        missing = [(seed, variant) for seed in seeds for variant in variants if f"{variant}/{seed}" not in self.results]
        if not missing:
            return
        feature_bytes = make_dataset(self.program, self.name, self.datasets, self.dataset)
        recipe = SETTINGS[self.name].recipe
        if recipe:  # the splits of a generated graph are in its catalog only
            self.test_nodes = numpy.load(Path(self.datasets) / recipe.name / "test_idx.npy")
            self.test_labels = numpy.load(Path(self.datasets) / recipe.name / "node_label.npy").ravel()[self.test_nodes]
        for seed, variant in missing:
            result = self.measure_one(variants[variant], seed, feature_bytes)
            self.results[f"{variant}/{seed}"] = result
            self.kept.write_text(json.dumps(self.results, indent=2))
            print(f"{self.name}: {variant}, seed {seed}: valid {100 * result['valid']:.2f}, "
                  f"test {100 * result['test']:.2f}", flush=True)
        gneiss_runs.remove(self.dataset)

    def measure_one(self, variant, seed, feature_bytes):
        # All rows in the cpu tier: where rows lie never changes a result, and nothing need be packed.
        options = SETTINGS[self.name].prepare | {"seed": seed, "cpu_cache": 2 * feature_bytes} | variant
        prepared = self.program.run("prepare", "--dataset", self.dataset, "--name", "pool", "--force",
                                    *option_list(options))
        run = self.dataset / "runs" / "pool"
        trained = self.program.run("train", "--dataset", self.dataset, "--preparation", "pool", "--model", "sage",
                                   "--run", run, "--force",
                                   *option_list(SETTINGS[self.name].train | {"seed": seed}))
        result = {"test": trained["test_accuracy"], "valid": trained["valid_accuracy"],
                "best_epoch": trained["best_epoch"], "train": trained["epochs"][-1]["train_accuracy"],
                "valid_curve": [epoch["valid_accuracy"] for epoch in trained["epochs"]],
                "residency": prepared["residency"],
                "rows_per_batch": prepared["input_rows"] / prepared["train_batches"]}
        if self.test_nodes is not None:
            result["exact_test"] = self.exact_accuracy(run)
        return result

    def exact_accuracy(self, run):
        """Of the run's best weights over whole neighborhoods."""
        out = self.program.work / "predictions.npy"
        self.program.run("infer", "--dataset", self.dataset, "--run", run, "--what", "predictions", "--out", out)
        right = numpy.load(out)[self.test_nodes] == self.test_labels
        return float(numpy.mean(right[self.test_labels >= 0]))

    def pairs(self, variant, base):
        """The runs of both, in the order of the seeds that both have."""
        seeds = sorted(int(name.split("/")[1]) for name in self.results if name.startswith(f"{variant}/"))
        both = [seed for seed in seeds if f"{base}/{seed}" in self.results]
        return [self.results[f"{variant}/{seed}"] for seed in both], [self.results[f"{base}/{seed}"] for seed in both]


def differences(runs, base_runs, key="test"):
    """Seed by seed, in points."""
    return [100 * (run[key] - base[key]) for run, base in zip(runs, base_runs) if key in run and key in base]


def options_line(name):
    setting = SETTINGS[name]
    parts = option_list(setting.recipe.importing if setting.recipe else GENERATE) + option_list(
        setting.prepare) + option_list(setting.train)
    return f"- {name}: `" + " ".join(parts) + "`"


def accuracy(runs, key="test"):
    return percent([run[key] for run in runs]) if all(key in run for run in runs) else ""


def best_epochs(runs):
    return ", ".join(str(run["best_epoch"]) for run in runs)


def signed(points):
    if not points:
        return ""
    mean, deviation = mean_and_deviation(points)
    return f"{mean:+.2f} ± {deviation:.2f}"
