#!/usr/bin/env python3
"""sampled_epochs.py: how many epochs of mini-batches must be sampled ahead? Accuracy with 1, 4 and all of them.

    bench/sampled_epochs.py --datasets DIR [NAME...]

For each seed and each K, a pool of K sampled epochs is prepared (sampling with that seed too) and trained on; with
K = the number of epochs no batch is ever seen twice, as in training that samples while it goes. The cpu tier holds
all rows: caches never change a result, and nothing need be packed. What the segments would take on the drive, with a
tenth of the rows in the cpu tier, comes from a dry run. Every run is kept in the working folder and not repeated.
"""

import argparse
import json
import sys
from pathlib import Path

import gneiss_runs
from accuracy_recipes import RECIPES
from gneiss_runs import Program, markdown_table, mean_and_deviation, option_list, percent

SEEDS = (0, 1, 2)
EPOCHS = {"ogbn_arxiv": 10, "fb100_dev": 10}
# Small neighborhoods for both: the fewer neighbors a batch holds, the more fresh samples have to add.
PREPARE = {"fanout": "15,10", "batch_size": 1024}
GIB = 2**30


def pool_sizes(name):
    return (1, 4, EPOCHS[name])


class Study:
    def __init__(self, program, recipe, datasets):
        self.program = program
        self.recipe = recipe
        self.source = Path(datasets) / (recipe.source or recipe.name)
        self.dataset = program.work / f"{recipe.name}.gneiss"
        self.kept = program.work / f"{recipe.name}.json"
        self.results = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        self.feature_bytes = 0

    def prepare(self, sample_epochs, seed, cache, *more):
        options = PREPARE | {"sample_epochs": sample_epochs, "seed": seed, "cpu_cache": cache}
        return self.program.run("prepare", "--dataset", self.dataset, "--name", "pool", "--force",
                                *option_list(options), *more)

    def measure_one(self, sample_epochs, seed):
        prepared = self.prepare(sample_epochs, seed, 2 * self.feature_bytes)
        train = self.recipe.train | {"epochs": EPOCHS[self.recipe.name], "seed": seed}
        trained = self.program.run("train", "--dataset", self.dataset, "--preparation", "pool", "--model", "sage",
                                   "--run", self.dataset / "runs" / "pool", "--force", *option_list(train))
        result = {"test": trained["test_accuracy"], "valid": trained["valid_accuracy"],
                  "best_epoch": trained["best_epoch"],
                  "train": trained["epochs"][-1]["train_accuracy"],
                  "valid_curve": [epoch["valid_accuracy"] for epoch in trained["epochs"]],
                  "samples_bytes": prepared["samples_bytes"], "sampling_seconds": prepared["sampling_seconds"]}
        if seed == SEEDS[0]:
            dry = self.prepare(sample_epochs, seed, self.feature_bytes // 10, "--dry-run")
            result["segment_bytes"] = dry["segment_bytes"]
        return result

    def measure(self):
        wanted = [(k, seed) for seed in SEEDS for k in pool_sizes(self.recipe.name)]
        missing = [(k, seed) for k, seed in wanted if f"{k}/{seed}" not in self.results]
        if missing:
            if not self.source.is_dir():
                sys.exit(f"{self.source} is missing; unpack the datasets and name their folder with --datasets")
            imported = self.program.run("import", self.recipe.layout, self.source, self.dataset, "--force",
                                        *option_list(self.recipe.importing))
            self.feature_bytes = imported["feature_bytes"]
        for k, seed in missing:
            result = self.measure_one(k, seed)
            self.results[f"{k}/{seed}"] = result
            self.kept.write_text(json.dumps(self.results, indent=2))
            print(f"{self.recipe.name}: K = {k}, seed {seed}: valid {100 * result['valid']:.2f}, "
                  f"test {100 * result['test']:.2f}", flush=True)
        gneiss_runs.remove(self.dataset)

    def rows(self):
        for k in pool_sizes(self.recipe.name):
            runs = [self.results[f"{k}/{seed}"] for seed in SEEDS if f"{k}/{seed}" in self.results]
            if not runs:
                continue
            label = f"{k} (fresh for every epoch)" if k == EPOCHS[self.recipe.name] else k
            yield [self.recipe.name, label, len(runs), f"**{percent([run['test'] for run in runs])}**",
                   percent([run["valid"] for run in runs]), percent([run["train"] for run in runs]),
                   ", ".join(str(run["best_epoch"]) for run in runs),
                   f"{mean_and_deviation([run['samples_bytes'] for run in runs])[0] / GIB:.2f} GiB",
                   f"{runs[0]['segment_bytes'] / GIB:.1f} GiB" if "segment_bytes" in runs[0] else ""]


TEXT = """# How many sampled epochs are enough

Made by `bench/sampled_epochs.py --datasets DIR` ({version}; {machine}).

Mean ± sample deviation over runs with seeds 0, 1, 2 (of sampling, weights, dropout and order), in percent. K epochs of
mini-batches are sampled ahead and training cycles through them, in a new order every epoch. All rows are in the cpu
tier: caches never change a result. "Segments" is what the drive would hold with a tenth of the feature bytes in the
cpu tier, evaluation included.

{table}
{options}
"""
CONCLUSION = "\n## What follows\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(EPOCHS)}; default: all")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the table of what is kept")
    parser.add_argument("--datasets", default="", help="folder with a folder per real graph")
    parser.add_argument("--gneiss", default="build/release/gneiss", help="the program")
    parser.add_argument("--work", default="build/bench/sampled_epochs", help="working folder; some 2 GB are used")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=Path(__file__).with_name("sampled_epochs.md"), type=Path)
    options = parser.parse_args()
    for name in options.names:
        if name not in EPOCHS:
            sys.exit(f"{name} is not among the graphs; choose from {', '.join(EPOCHS)}")

    program = Program(options.gneiss, options.work, options.threads)
    studies = [Study(program, recipe, options.datasets) for recipe in RECIPES if recipe.name in EPOCHS]
    for study in studies:
        if study.recipe.name in (options.names or EPOCHS) and not options.table:
            study.measure()
    header = ["graph", "K", "runs", "test", "validation", "training, last epoch", "best epochs", "samples",
              "segments"]
    table = markdown_table(header, [row for study in studies for row in study.rows()])
    used = "\n".join(
        f"- {study.recipe.name}: `" + " ".join(option_list(
            study.recipe.importing | PREPARE | study.recipe.train | {"epochs": EPOCHS[study.recipe.name]})) + "`"
        for study in studies)
    text = TEXT.format(version=program.version(), machine=gneiss_runs.machine(), table=table, options=used)
    options.out.write_text(text + gneiss_runs.part_from(options.out, CONCLUSION))
    print(text)


if __name__ == "__main__":
    main()
