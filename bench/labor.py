#!/usr/bin/env python3
"""labor.py: does LABOR save the input rows that it should, and does it cost accuracy? Its table is labor.md.

    bench/labor.py rows --datasets DIR [NAME...]        input rows, against labor_reference.py on the same graph
    bench/labor.py accuracy --datasets DIR [NAME...]    test accuracy against neighbor sampling, seed by seed
    bench/labor.py variance --datasets DIR              errors of sampled neighborhoods, by labor_variance.py
    bench/labor.py table                                measures nothing; writes the table of what is kept

Rows: `gneiss prepare --dry-run` says how many an epoch reads; the reference samples batches of the same size from the
same graph.csc with its own random numbers. What matters is the share of neighbor sampling's rows that LABOR needs.
Needs NumPy. Exit code 1: a share differs from the reference's by more than 3 %, or LABOR's mean test accuracy is more
than half a point below that of neighbor sampling.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy

import gneiss_runs
import labor_reference
import labor_variance
from accuracy_recipes import RECIPES
from gneiss_runs import Program, markdown_table, mean_and_deviation, option_list
from paired_runs import SEEDS, SETTINGS, PairedRuns, accuracy, best_epochs, differences, options_line, signed

DIFFERENCE_MAX = 0.03  # of a share, relative
POINTS_MAX = 0.5
CACHED_SHARE = 0.1  # of the rows, in the cpu tier
RECIPES_BY_NAME = {recipe.name: recipe for recipe in RECIPES}
# Training nodes go into batches almost evenly, so that the last of an epoch is as good as full.
GRAPHS_OF_ROWS = {
    "generated_1m": ({"nodes": 1_000_000, "avg_degree": 15, "features": 8},
                     (("10,10", 1000), ("10,10,10", 1000), ("10,10", 10_000))),
    "generated_1m_skew_0.3": ({"nodes": 1_000_000, "avg_degree": 15, "features": 8, "degree_skew": 0.3},
                              (("10,10", 1000), ("10,10,10", 1000), ("10,10", 10_000))),
    "fb100_dev": (None, (("15,10", 1019), ("10,10,10", 1019), ("10,10", 8150))),
    "ogbn_arxiv": (None, (("15,10", 1022), ("10,10,10", 1022), ("10,10", 7579))),
}
REFERENCE_BATCHES = 12  # at 1000 seeds the mean of so many is known to a part in a thousand
SAMPLERS = {
    "neighbor": {"sampler": "neighbor"},
    "labor": {"sampler": "labor"},
    "labor, layer dependency": {"sampler": "labor", "layer_dependency": True},
    "labor, batch dependency 16": {"sampler": "labor", "batch_dependency": 16},
    "labor, both": {"sampler": "labor", "layer_dependency": True, "batch_dependency": 16},
}
BASE = "static K=4"  # neighbor sampling as fixed_order.py names it: its runs are shared
ACCURACY = {BASE: {"residency": "static", "sample_epochs": 4}}
ACCURACY["labor"] = ACCURACY[BASE] | SAMPLERS["labor"]
# Three seeds left half a point open on fb100_dev: more of them there, and what one sampler reaches with the rows of the
# other. The fanouts keep the shape of 15,10.
MORE_SEEDS = {"fb100_dev": tuple(range(10))}
EQUAL_ROWS = {"neighbor, LABOR's rows": ACCURACY[BASE] | {"fanout": "8,5"},
              "labor, neighbor's rows": ACCURACY["labor"] | {"fanout": "32,21"}}


def measure_rows(program, name, datasets):
    generate, cases = GRAPHS_OF_ROWS[name]
    dataset = program.work / f"{name}.gneiss"
    if generate:
        made = program.run("generate", dataset, "--force", *option_list(generate))
        train = None  # dealt at random: seeds from all nodes are as good
    else:
        recipe = RECIPES_BY_NAME[name]
        source = Path(datasets) / (recipe.source or name)
        made = program.run("import", recipe.layout, source, dataset, "--force", *option_list(recipe.importing))
        train = numpy.load(Path(datasets) / name / "train_idx.npy")
    graph = labor_reference.read_csc(dataset / "graph.csc")
    nodes = numpy.arange(len(graph[0]) - 1)
    result = {"nodes": len(nodes), "edges": int(graph[0][-1]), "cases": {}}
    for fanout, batch_size in cases:
        reference = labor_reference.mean_rows(
            graph, nodes if train is None else train, [int(hop) for hop in fanout.split(",")], batch_size,
            REFERENCE_BATCHES, numpy.random.default_rng(20_231))
        gneiss = {}
        for sampler, options in SAMPLERS.items():
            plan = program.run(
                "prepare", "--dataset", dataset, "--name", "probe", "--dry-run", "--no-evaluation", *option_list(
                    {"fanout": fanout, "batch_size": batch_size, "sample_epochs": 1, "residency": "belady",
                     "cpu_cache": int(CACHED_SHARE * made["feature_bytes"])} | options))
            gneiss[sampler] = {"input_rows": plan["input_rows"] / plan["train_batches"],
                               "edges": plan["sampled_edges"] / plan["train_batches"],
                               "disk_rows": plan["disk_rows"] / plan["train_batches"]}
        result["cases"][f"{fanout} {batch_size}"] = {"reference": reference, "gneiss": gneiss}
        print(f"{name} {fanout} {batch_size}: reference {share(reference):.4f}, gneiss {share(gneiss):.4f}", flush=True)
    gneiss_runs.remove(dataset)
    return result


def share(rows, sampler="labor"):
    return rows[sampler]["input_rows"] / rows["neighbor"]["input_rows"]


def difference(case, sampler="labor"):
    name = {"labor": "labor", "labor, layer dependency": "labor_layer_dependency"}[sampler]
    return share(case["gneiss"], sampler) / share(case["reference"], name) - 1


def cases_of(results):
    for name in GRAPHS_OF_ROWS:
        for case_name, case in results.get(name, {"cases": {}})["cases"].items():
            fanout, batch_size = case_name.split()
            yield name, fanout, int(batch_size), case


def rows_table(results):
    rows = []
    for name, fanout, batch_size, case in cases_of(results):
        reference, gneiss = case["reference"], case["gneiss"]
        rows.append([name, fanout, f"{batch_size:,}",
                     *(f"{side[sampler]['input_rows']:,.0f}" for sampler in ("neighbor", "labor")
                       for side in (reference, gneiss)),
                     f"{share(reference):.4f}", f"**{share(gneiss):.4f}**", f"**{100 * difference(case):+.2f} %**",
                     f"{100 * difference(case, 'labor, layer dependency'):+.2f} %",
                     f"{share(reference, 'labor_poisson'):.4f}"])
    return markdown_table(["graph", "fanout", "batch size", "neighbor, reference", "neighbor, gneiss",
                           "LABOR, reference", "LABOR, gneiss", "share, reference", "share, gneiss", "difference",
                           "difference with layer dependency", "share of LABOR-0 (Poisson), reference"], rows)


def dependency_table(results):
    rows = []
    for name, fanout, batch_size, case in cases_of(results):
        gneiss = case["gneiss"]
        for key in ("input_rows", "disk_rows"):
            base = gneiss["neighbor"][key]
            rows.append([name, fanout, f"{batch_size:,}", {"input_rows": "needed", "disk_rows": "from the drive"}[key],
                         f"{base:,.0f}", *(f"{gneiss[sampler][key] / base:.3f}" for sampler in list(SAMPLERS)[1:])])
    return markdown_table(["graph", "fanout", "batch size", "rows a batch", "neighbor", "LABOR", "layer dependency",
                           "batch dependency 16", "both"], rows)


def accuracy_table(studies, file):
    """Of graphs that were not measured here the rows that `file` has."""
    rows, kept = [], ""
    for study in studies:
        runs, base = study.pairs("labor", BASE)
        if not runs:
            kept += gneiss_runs.line_from(file, "Accuracy", f"| {study.name} | ")
            continue
        rows_needed, rows_of_base = (mean_and_deviation([run["rows_per_batch"] for run in one])[0]
                                     for one in (runs, base))
        rows.append([study.name, len(runs), f"{rows_needed / rows_of_base:.3f}", accuracy(base), accuracy(runs),
                     f"**{signed(differences(runs, base))}**", signed(differences(runs, base, "valid")),
                     accuracy(base, "exact_test"),
                     accuracy(runs, "exact_test"), signed(differences(runs, base, "exact_test")),
                     best_epochs(base), best_epochs(runs)])
    return markdown_table(["graph", "seeds", "share of the rows", "neighbor", "LABOR", "difference",
                           "difference, validation", "neighbor, exact", "LABOR, exact", "difference, exact", "best epochs, neighbor",
                           "best epochs, LABOR"], rows) + kept


def equal_rows_table(study):
    """fb100_dev alone: each sampler at the other's number of rows, against neighbor sampling at 15,10. Or nothing."""
    if not any(study.pairs(variant, BASE)[0] for variant in EQUAL_ROWS):
        return ""
    rows = []
    for variant in (BASE, "labor", *EQUAL_ROWS):
        runs, base = study.pairs(variant, BASE)
        if not runs:
            continue
        needed = mean_and_deviation([run["rows_per_batch"] for run in runs])[0]
        rows.append(["neighbor" if "labor" not in variant else "LABOR",
                     EQUAL_ROWS.get(variant, {}).get("fanout", "15,10"), f"{needed:,.0f}", len(runs), accuracy(runs),
                     "" if variant == BASE else signed(differences(runs, base)), accuracy(runs, "exact_test"),
                     "" if variant == BASE else signed(differences(runs, base, "exact_test"))])
    return EQUAL_ROWS_TEXT + markdown_table(["sampler", "fanout", "rows a batch", "seeds", "test", "difference", "exact",
                           "difference, exact"], rows)


def variance_table(cases):
    names = {"neighbor": "neighbor", "labor": "LABOR", "labor_layer_dependency": "LABOR, layer dependency"}
    base = cases[0] if cases else {}
    return markdown_table(["sampler", "fanout", "rows a batch", "error of a seed", "error of a batch",
                           "batch over seed"],
                          [[names[case["sampler"]], case["fanout"], f"{case['rows']:,.0f}",
                            f"{case['seed_error'] / base['seed_error']:.2f}",
                            f"{case['batch_error'] / base['seed_error']:.2f}",
                            f"**{case['batch_error'] / case['seed_error']:.2f}**"] for case in cases])


def measure_variance(program, datasets):
    recipe = RECIPES_BY_NAME["fb100_dev"]
    dataset = program.work / "fb100_dev.gneiss"
    program.run("import", recipe.layout, Path(datasets) / recipe.name, dataset, "--force",
                *option_list(recipe.importing))
    cases = labor_variance.measure_all(dataset, Path(datasets) / recipe.name / "train_idx.npy")
    gneiss_runs.remove(dataset)
    return cases


ROWS_HEADING = "Input rows against an independent implementation"
DEPENDENCY_HEADING = "Layer dependency and batch dependency"
TEXT = """# LABOR: rows saved, and accuracy

Made by `bench/labor.py rows --datasets DIR` and `bench/labor.py accuracy --datasets DIR` ({version}; {machine}).

## Input rows against an independent implementation

`labor_reference.py` is a second implementation, of NumPy alone, with its own random numbers, on the same `graph.csc`.
Mean input rows a batch: the reference's over {batches} batches, or an epoch's where there are fewer, gneiss's over an
epoch (`gneiss prepare --dry-run`, all other options default). "Share" is LABOR's part of neighbor sampling's rows;
"difference" is gneiss's share over the reference's, less 1, to stay within 3 %. LABOR-0 by Poisson sampling, as in the
paper, draws k neighbors on average instead of exactly k; its share stands in the last column. Edges go both ways. The
generated graphs: {generated}.

{rows}
## Layer dependency and batch dependency

gneiss alone, as a part of neighbor sampling's rows. With layer dependency all hops of a batch share their variates;
with batch dependency 16 variates change smoothly and are new after 16 batches: a batch needs as many rows, but more
of them were the batch's before, so that a cache holds them. "From the drive" is what `--residency belady` leaves for it
with a tenth of the rows in the cpu tier (`--cpu-cache`), one sampled epoch.

{dependencies}
## Accuracy

GraphSAGE on LABOR's batches against neighbor sampling's: test accuracy at the best epoch by validation, seeds 0, 1, ...
of sampling, weights, dropout and order, four sampled epochs, mean ± sample deviation in percent. "Difference" is
LABOR's less neighbor sampling's, seed by seed, in points; it is to stay above −0.5. Validation and test batches are
sampled as training batches are, so each side is tested on neighborhoods of its own kind; "exact" is the same weights
over whole neighborhoods (`gneiss infer`; real graphs only), so that only training differs.

{accuracy}
{options}

## Where the difference comes from

fb100_dev, means of two hops over the features, from sampled edges less from all edges (`labor_variance.py`). The error
of a seed is its squared length, on average; that of a batch is the squared length of the error's mean over its 1,024
seeds, times 1,024: the same as a seed's where errors of seeds are independent. Both relative to the error of a seed with
neighbor sampling. Gradients are means over the batch.

{variance}{equal_rows}"""
EQUAL_ROWS_TEXT = """
The same training with as many rows as the other sampler reads, differences against neighbor sampling with 15,10, seed
by seed:

"""
CONCLUSION = "\n## What follows\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "accuracy", "variance", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="graphs; default: all of the study")
    parser.add_argument("--datasets", default="", help="folder with a folder per real graph")
    parser.add_argument("--gneiss", default="build/release/gneiss", help="the program")
    parser.add_argument("--work", default="build/bench/labor", help="working folder; some 1 GB is used")
    parser.add_argument("--paired-work", default="build/bench/paired_runs", help="where runs of accuracy are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=Path(__file__).with_name("labor.md"), type=Path)
    options = parser.parse_args()
    known = {"rows": tuple(GRAPHS_OF_ROWS), "accuracy": tuple(SETTINGS), "variance": (), "table": ()}[options.what]
    for name in options.names:
        if name not in known:
            sys.exit(f"{name} is not among the graphs; choose from {', '.join(known)}")

    program = Program(options.gneiss, options.work, options.threads)
    paired = Program(options.gneiss, options.paired_work, options.threads)
    studies = [PairedRuns(paired, name, options.datasets) for name in SETTINGS]
    kept = program.work / "results"
    kept.mkdir(exist_ok=True)
    for name in options.names or known:
        if options.what == "rows":
            (kept / f"{name}.json").write_text(json.dumps(measure_rows(program, name, options.datasets), indent=2))
        else:
            study = studies[list(SETTINGS).index(name)]
            study.measure(ACCURACY, MORE_SEEDS.get(name, SEEDS))
            if name in MORE_SEEDS:
                study.measure(EQUAL_ROWS, SEEDS)
    if options.what == "variance":
        (kept / "variance.json").write_text(json.dumps(measure_variance(program, options.datasets), indent=2))

    results = {name: json.loads((kept / f"{name}.json").read_text())
               for name in GRAPHS_OF_ROWS if (kept / f"{name}.json").exists()}
    variance = json.loads((kept / "variance.json").read_text()) if (kept / "variance.json").exists() else []
    generated = "; ".join(f"{name}, `gneiss generate {' '.join(option_list(generate))}`"
                          for name, (generate, _) in GRAPHS_OF_ROWS.items() if generate)
    text = TEXT.format(version=program.version(), machine=gneiss_runs.machine(), batches=REFERENCE_BATCHES,
                       rows=rows_table(results), dependencies=dependency_table(results), generated=generated,
                       accuracy=accuracy_table(studies, options.out), variance=variance_table(variance),
                       equal_rows=equal_rows_table(studies[list(SETTINGS).index("fb100_dev")]), options="\n".join(options_line(name) for name in SETTINGS))
    missing = [] if results else [ROWS_HEADING, DEPENDENCY_HEADING]
    text = gneiss_runs.keep_sections(text, options.out, missing)
    options.out.write_text(text + gneiss_runs.part_from(options.out, CONCLUSION))
    print(text)
    near = all(abs(difference(case)) <= DIFFERENCE_MAX for *_, case in cases_of(results))
    pairs = [study.pairs("labor", BASE) for study in studies]
    accurate = all(mean_and_deviation(differences(*pair))[0] >= -POINTS_MAX for pair in pairs if pair[0])
    sys.exit(0 if near and accurate else 1)


if __name__ == "__main__":
    main()
