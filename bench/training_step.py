#!/usr/bin/env python3
"""One training step by Gneiss against PyTorch, on the same sampled blocks from the same weights.

    bench/training_step.py build/release FOLDER [--python /work/venv-step/bin/python] [--rounds 5] [--steps 24]
    bench/training_step.py build/release FOLDER --ours-only [--rounds 5] [--steps 24]
    bench/training_step.py build/release FOLDER --device cuda [--json FILE]

Graph: 1 M nodes, average degree 15, 128 features f32; 3 hops of 10,10,10, batch 1,024, hidden 256, no dropout, Adam, 2
threads. The batches are held in memory on both sides: what brings them is no part of the step. Against PyG's default
path (index_select and scatter) and against torch's CSR product with indices and transpositions made before; see
bench/step. Runs alternate, each a process of its own; what is quoted is the ratio of medians over all steps. The losses
of the first steps, each on another batch and after the updates before it, must agree: that is what shows that the
computation is the same. Writes training_step.md beside itself, or --out.

Our own step is measured in f32, with bf16 products, and with bf16 products over a graph whose features are stored in
bf16 (the same graph and, but for their rounding, the same features). --ours-only measures just that, and leaves what
the file says of PyTorch as it is.

With --device cuda the batches are held in the device's memory on both sides, steps are timed by the device's events
from before the first to after the last, and each is compared in f32, in tf32 and with bf16 products (PyTorch: autocast).
Writes training_step_cuda.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from gneiss_runs import keep_sections, machine, markdown_table, part_from

HERE = Path(__file__).resolve().parent
GOALS = {"default": 2.0, "csr": 1.1, "bf16": 1.4}
LOSS_BOUND = {"f32": 1e-4, "tf32": 5e-3, "bf16": 2e-2}
CUDA_PRECISIONS = ("f32", "tf32", "bf16")
# Ours on the CPU: the precision of products and the features' dtype.
OURS = {"f32": ("f32", "f32"), "bf16": ("bf16", "f32"), "bf16 with bf16 features": ("bf16", "bf16")}


def run(command, folder=None):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          cwd=folder)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = Path(args.folder).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        build = Path(args.build).resolve()
        self.gneiss, self.step = build / "gneiss", build / "bench_training_step"
        self.datasets = {"f32": self.work / "step.gneiss", "bf16": self.work / "step_bf16.gneiss"}
        self.folders = [self.work / f"batch{i}" for i in range(args.batches)]

    def prepare(self):
        is_new = self.prepare_dataset("f32")
        if not self.args.ours_only and (is_new or not (self.folders[-1] / "features.npy").exists()):
            for i, folder in enumerate(self.folders):
                run([self.gneiss, "inspect", "--dataset", self.datasets["f32"], "--preparation", "step", "--epoch", 0,
                     "--batch", i, "--out", folder])

    def prepare_dataset(self, dtype):
        """Whether it had to be made."""
        dataset = self.datasets[dtype]
        if (dataset / "prepared" / "step").exists():
            return False
        run([self.gneiss, "generate", dataset, "--nodes", self.args.nodes, "--avg-degree", 15, "--features", 128,
             "--classes", 32, "--train-share", self.train_share(), "--valid-share", 0.0005, "--test-share", 0.0005,
             "--feature-dtype", dtype, "--seed", 7, "--force", *self.memory()])
        run([self.gneiss, "prepare", "--dataset", dataset, "--name", "step", "--fanout", self.args.fanout, "--batch-size",
             self.args.batch_size, "--sample-epochs", 1, "--cpu-cache", "160MiB", "--force", *self.memory()])
        return True

    def train_share(self):
        """Whole batches, and one more: as many as are held."""
        return max(0.005, (self.args.batches + 1) * self.args.batch_size / self.args.nodes)

    def memory(self):
        return ["--memory", self.args.memory] if self.args.memory else []

    def ours(self, model, precision, features="f32"):
        summary = self.work / "gneiss.json"
        text = run([self.step, "--dataset", self.datasets[features], "--preparation", "step", "--model", model, "--hidden",
                    self.args.hidden, "--device", self.args.device, "--batches", self.args.batches, "--steps", self.args.steps, "--threads", self.args.threads,
                    "--clock", self.args.clock, "--precision", precision, "--weights", self.weights(model),
                    "--summary", summary])
        print(f"Gneiss {precision}, features {features}, {text.splitlines()[0]}", flush=True)
        return json.loads(summary.read_text())

    def torch(self, model, ways):
        """A result a way, of one process."""
        summary = self.work / "torch.json"
        text = run([self.args.python, "torch_step.py", "--batches", *self.folders, "--weights", self.weights(model),
                    "--model", model, "--ways", *ways, "--steps", self.args.steps, "--threads", self.args.threads,
                    "--clock", self.args.clock, "--device", self.args.device, "--summary", summary], folder=HERE / "step")
        print("".join(f"PyTorch, {line}\n" for line in text.splitlines() if "first losses" in line), end="", flush=True)
        return json.loads(summary.read_text())

    def weights(self, model):
        return self.work / f"{model}.safetensors"


def median_ms(results):
    return 1e3 * statistics.median(s for r in results for s in r["step_seconds"])


def quietest_ms(results):
    """Of the quickest round: what others take of a shared machine only adds."""
    return min(median_ms([result]) for result in results)


def product_ms(results):
    return median_ms(results) * statistics.median(r["product_share"] for r in results)


def largest_difference(results, reference):
    """Between losses of the same steps, as a share."""
    return max(abs(a - b) / b for r in results for a, b in zip(r["losses"], reference["losses"]))


def measure(bench, model, ours, rounds):
    """{way: [result of each round]}; ways alternate."""
    ways = {way: lambda way=way: bench.ours(model, *OURS[way]) for way in ours}
    if not bench.args.ours_only:
        ways |= {path: lambda p=path: bench.torch(model, [f"{p}/f32"])[0] for path in ("default", "csr")}
    results = {way: [] for way in ways}
    for _ in range(rounds):
        for way, once in ways.items():
            results[way].append(once())
    return results


def measure_on_device(bench, model, rounds):
    """The same by (who, precision): ours, PyG's default path, torch's CSR product. PyTorch starts once a round."""
    torch_ways = [("default", p) for p in CUDA_PRECISIONS] + [("csr", p) for p in ("f32", "tf32")]
    results = {way: [] for way in [("ours", p) for p in CUDA_PRECISIONS] + torch_ways}
    for _ in range(rounds):
        for precision in CUDA_PRECISIONS:
            results["ours", precision].append(bench.ours(model, precision))
        for way, result in zip(torch_ways, bench.torch(model, ["/".join(way) for way in torch_ways])):
            results[way].append(result)
    return results


def parts(results):
    whole, products = median_ms(results), product_ms(results)
    return [f"{whole:.0f}", f"{products:.0f} + {whole - products:.0f}"]


def row_of(model, results):
    ours = median_ms(results["f32"])
    row = [model, *parts(results["f32"])]
    for path in ("default", "csr"):
        row += [*parts(results[path]), f"**{median_ms(results[path]) / ours:.2f}**"]
    return row


def own_row(model, results):
    row = [model, *parts(results["f32"])]
    for way in [way for way in OURS if way != "f32"]:
        row += [*parts(results[way]), f"**{median_ms(results['f32']) / median_ms(results[way]):.2f}**",
                f"{quietest_ms(results['f32']) / quietest_ms(results[way]):.2f}"]
    return row


def operator_rows(model, results):
    ways = [way for way in OURS if way in results]
    last = {way: results[way][-1]["operators"] for way in ways}
    order = sorted(last["f32"].items(), key=lambda item: -item[1]["seconds_per_step"])
    return [[model, name, "yes" if entry["is_product"] else "", f"{entry['calls_per_step']:.0f}",
             *(f"{1e3 * last[way][name]['seconds_per_step']:.1f}" for way in ways)]
            for name, entry in order if entry["seconds_per_step"] > 5e-4]


def loss_rows(all_results):
    rows = []
    for model, results in all_results.items():
        for way, of_way in results.items():
            if way != "f32":
                share = checked_difference(model, way, "bf16" if way in OURS else "f32", of_way, results["f32"][0])
                rows.append([model, way, f"{share:.1e}"])
    return markdown_table(["model", "against f32", "share of the loss"], rows)


def run_line(args):
    clock = "" if args.clock == "wall" else " of processor time on a shared machine"
    return f"{args.threads} threads; {args.rounds} alternating rounds of {args.steps} steps, medians{clock}"


def torch_report(all_results, args):
    """What stands before the first section."""
    header = ["model", "Gneiss, ms", "products + rest", "PyG's default path, ms", "products + rest", "times as long",
              "CSR, ms", "products + rest", "times as long"]
    rows = [row_of(model, results) for model, results in all_results.items()]
    some = next(iter(all_results.values()))
    csr = sorted({results["csr"][0]["csr_product"] for results in all_results.values()})
    return ["# One training step against PyTorch", "",
            "Made by `bench/training_step.py`; what is compared, and how, stands at its head and in `bench/step`.", "",
            f"{machine()}; {some['default'][0]['library']}; {run_line(args)}. Goals: {GOALS['default']} times PyG's default "
            f"path, {GOALS['csr']} times the CSR path.", "", markdown_table(header, rows),
            "The losses of the first steps, from the same weights, differ by at most:", "",
            loss_rows({model: {way: r for way, r in results.items() if way not in OURS or way == "f32"}
                       for model, results in all_results.items()}),
            f"torch's CSR product is the faster of those it has: {', '.join(csr)}.", ""]


def own_report(all_results, args):
    """The sections on our own step."""
    lines = []
    ways = [way for way in OURS if all(way in results for results in all_results.values())]
    if len(ways) > 1:
        header = ["model", "f32, ms", "products + rest"]
        for way in ways[1:]:
            header += [f"{way}, ms", "products + rest", "f32 is times as long", "in the quietest rounds"]
        lines += ["## bf16 beside our own f32", "", f"{machine()}; {run_line(args)}. Goal: {GOALS['bf16']} times.", "",
                  markdown_table(header, [own_row(model, results) for model, results in all_results.items()]),
                  "The losses of the first steps, from the same weights, differ by at most:", "",
                  loss_rows({model: {way: results[way] for way in ways} for model, results in all_results.items()})]
    header = ["model", "operator", "product", "calls", *(f"{way}, ms a step" for way in ways)]
    return lines + ["## What our step is made of", "", "Of the last round.", "", markdown_table(
        header, [row for model, results in all_results.items() for row in operator_rows(model, results)])]


def checked_difference(model, way, precision, results, reference):
    share = largest_difference(results, reference)
    if share > LOSS_BOUND[precision]:
        sys.exit(f"{model}: the losses of {way} in {precision} differ by a share of {share:.1e}: not the same computation")
    return share


def device_rows(all_results):
    """A row a model and precision, as the table and the JSON have it."""
    rows = []
    for model, results in all_results.items():
        reference = results["ours", "f32"][0]
        for precision in CUDA_PRECISIONS:
            row = {"model": model, "precision": precision}
            for who in ("ours", "default", "csr"):
                if (who, precision) in results:
                    row[f"{who}_ms"] = median_ms(results[who, precision])
                    row[f"{who}_loss_difference"] = checked_difference(model, who, precision, results[who, precision],
                                                                       reference)
            rows.append(row)
    return rows


def device_report(all_results, rows, args):
    some = next(iter(all_results.values()))
    times = lambda row, key: f"{row[key]:.2f}" if key in row else "-"
    ratio = lambda row, key: f"**{row[key] / row['ours_ms']:.2f}**" if key in row else "-"
    share = lambda row, key: f"{row[key]:.1e}" if key in row else "-"
    table = [[row["model"], row["precision"], times(row, "ours_ms"), times(row, "default_ms"), ratio(row, "default_ms"),
              times(row, "csr_ms"), ratio(row, "csr_ms"), share(row, "ours_loss_difference"),
              share(row, "default_loss_difference"), share(row, "csr_loss_difference")] for row in rows]
    header = ["model", "precision", "Gneiss, ms", "PyG's default path, ms", "times as long", "CSR, ms", "times as long",
              "losses differ by: Gneiss", "PyG", "CSR"]
    operators = [[model, name, "yes" if entry["is_product"] else "", f"{entry['calls_per_step']:.0f}",
                  f"{1e3 * entry['seconds_per_step']:.3f}"]
                 for model, results in all_results.items()
                 for name, entry in sorted(results["ours", "f32"][-1]["operators"].items(),
                                           key=lambda item: -item[1]["seconds_per_step"])]
    return "\n".join([
        "# One training step on a CUDA device against PyTorch", "",
        "Made by `bench/training_step.py --device cuda`; what is compared, and how, stands at its head and in `bench/step`.",
        "", f"{machine()}; {some['default', 'f32'][0]['library']}; fanout {args.fanout}, batch {args.batch_size}, hidden "
        f"{args.hidden}; {args.rounds} alternating rounds of {args.steps} steps. Losses: of the first steps, against our "
        "f32, as a share.", "", markdown_table(header, table), "## What our f32 step is made of", "",
        "Each operator waited for, so that together they take longer than a step.", "",
        markdown_table(["model", "operator", "product", "calls", "ms a step"], operators)])


def has_bf16():
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="folder with gneiss and bench_training_step")
    parser.add_argument("folder", help="where the graph and the batches go, 3 GB")
    parser.add_argument("--python", default=sys.executable, help="with torch, and PyG if there is one")
    parser.add_argument("--models", nargs="+", default=["sage", "gcn", "gat"])
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours-only", action="store_true", help="nothing of PyTorch; needs none")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: the processor's time, on a machine that others use; the table says so")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--fanout", default="10,10,10")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--memory", help="for making graph and batches, such as 16GiB, where not all of it shows yet")
    parser.add_argument("--out", help="default: training_step.md beside this, or training_step_cuda.md")
    parser.add_argument("--json", help="with --device cuda: the rows of the table")
    args = parser.parse_args()
    bench = Bench(args)
    bench.prepare()
    if args.device == "cuda":
        results = {model: measure_on_device(bench, model, args.rounds) for model in args.models}
        rows = device_rows(results)
        text = device_report(results, rows, args)
        if args.json:
            library = results[args.models[0]]["default", "f32"][0]["library"]
            Path(args.json).write_text(json.dumps({"library": library, "rows": rows}, indent=2))
    else:
        if has_bf16():
            bench.prepare_dataset("bf16")
        results = {model: measure(bench, model, list(OURS) if has_bf16() else ["f32"], args.rounds)
                   for model in args.models}
        text = "\n".join([*([] if args.ours_only else torch_report(results, args)), *own_report(results, args)])
    out = Path(args.out or HERE / ("training_step.md" if args.device == "cpu" else "training_step_cuda.md"))
    if args.ours_only:
        text = keep_sections("\n" + text, out, [""])
    kept = part_from(out, "## What stands out")
    out.write_text(text + ("\n" + kept if kept else ""))
    print(text)


if __name__ == "__main__":
    main()
