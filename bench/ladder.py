#!/usr/bin/env python3
"""ladder.py: the same sampled batches by every strategy, out of core, beside this drive's own ceiling.

    bench/ladder.py --work FOLDER [--nodes 10000000 --cap 2GiB --cache-share 0.1 --out ladder]

Each strategy runs in a process of its own inside a memory control group that counts the page cache (`memory` runs
outside), with the files dropped from the cache first. mmap, lru and ginex are tuned on a few batches, then timed over
--window consecutive batches after --warm-up; their epochs are scaled from that and say so. Segments are read for the
whole epoch. Training is `gneiss train` on the preparations of diskgnn, gneiss and memory; mmap, lru and ginex train in
the same steps on batches that they gather (bench_ladder --train). Where two such batches fit the cap with no
reader tried, the epoch is a bound: the larger of read stage and computation, as if all else were free.

One pack lies on the drive at a time, and what the script made is removed at its end (--keep leaves it). Writes OUT.md,
OUT.json and OUT.svg.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ladder_report
from gneiss_runs import machine, option_list

CAP = Path(__file__).resolve().parent.parent / "tests" / "support" / "memory_cap.sh"
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# What is tried before a strategy is timed. `scattered`: PyG asks for rows in the order of discovery; `ascending`: what
# it could do and does not. A read that a gap makes longer costs bytes and saves operations: the drive decides.
TUNING = {
    "mmap": [{"order": "scattered", "gather_threads": threads, **advice}
             for threads in (16, 64) for advice in ({}, {"no_advice": True})],
    "mmap_sorted": [{"order": "ascending", "gather_threads": threads, "no_advice": True} for threads in (2, 16)],
    "lru": [{"gap": gap, "read_size": size, "queue_depth": depth, "readers": readers} for gap, size, depth, readers in (
        ("0", "16KiB", 256, 1), ("0", "16KiB", 256, 2), ("4KiB", "64KiB", 256, 1), ("8KiB", "256KiB", 128, 1),
        ("16KiB", "256KiB", 128, 1), ("64KiB", "1MiB", 128, 1), ("16KiB", "256KiB", 128, 2))],
}
TUNING["ginex"] = TUNING["lru"]


def bytes_of(text):
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text[: -len(unit)]) * factor)
    return int(text)


class Ladder:
    def __init__(self, options):
        self.options = options
        self.work = Path(options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.dataset = self.work / "ladder.gneiss"
        self.log = open(self.work / "ladder.log", "w", encoding="utf-8")

    def run(self, command, cap=None, seconds=None, may_exceed=False):
        """The summary that the command wrote; None when it did not end in time, or did not fit and may exceed the cap.

        `cap`: inside a control group."""
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            summary, peak = Path(scratch) / "summary.json", Path(scratch) / "peak"
            command = [*map(str, command), "--summary", str(summary)]
            if seconds:
                command = ["timeout", "-s", "KILL", str(seconds), *command]
            if cap:
                cold = ["--cold", str(self.dataset)] if self.dataset.exists() else []
                command = ["bash", str(CAP), "--peak", str(peak), *cold, cap, *command]
            self.log.write(" ".join(command) + "\n")
            self.log.flush()
            begin = time.monotonic()
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                                  env={**os.environ, "OMP_WAIT_POLICY": "passive"})
            self.log.write(done.stdout + "\n")
            self.log.flush()
            if seconds and not summary.exists() and time.monotonic() - begin >= seconds:
                return None
            if may_exceed and done.returncode == 137:
                return None
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
            result = json.loads(summary.read_text())
            if peak.exists():
                result["control_group_peak_bytes"] = int(peak.read_text())
            return result

    def gneiss(self, *arguments, cap=None):
        return self.run([self.options.gneiss, "--quiet", *arguments], cap)

    def generate(self):
        options = self.options
        shutil.rmtree(self.dataset, ignore_errors=True)
        return self.gneiss("generate", self.dataset, "--nodes", options.nodes, "--avg-degree", options.avg_degree,
                           "--degree-skew", options.degree_skew, "--features", options.features, "--train-share",
                           options.train_nodes / options.nodes, "--valid-share", 0.0001, "--test-share", 0.0001, "--seed",
                           options.seed, "--threads", options.threads, cap=options.prepare_cap)

    def measure_drive(self):
        """Sequential and random ceilings; a file of its own, written and removed by the program."""
        return self.gneiss("bench", "io", "--path", self.work, "--size", "4GiB", "--seconds", self.options.drive_seconds,
                           "--engine", "io_uring", "--pattern", "sequential", "--pattern", "random", "--block-size",
                           "4KiB", "--block-size", "1MiB", "--queue-depth", 32, "--queue-depth", 128)

    def measure_dataset_drive(self):
        """As a user does before a plan: reading and writing, kept in the dataset for `prepare`."""
        return self.gneiss("bench", "io", "--dataset", self.dataset, "--seconds", self.options.drive_seconds)

    def disk_bytes(self):
        return sum(file.stat().st_size for file in self.work.rglob("*") if file.is_file())

    def prepare(self, residency, cache_bytes):
        """Replaces the preparation there is: one pack at a time."""
        options = self.options
        for folder in (self.dataset / "prepared").glob("*"):
            shutil.rmtree(folder)
        left = bytes_of(options.disk_limit) - self.disk_bytes()
        return self.gneiss("prepare", "--dataset", self.dataset, "--name", "ladder", "--force", "--fanout",
                           options.fanout, "--batch-size", options.batch_size, "--sample-epochs", 1, "--residency",
                           residency, "--cpu-cache", cache_bytes, "--no-evaluation", "--disk-budget", left, "--threads",
                           options.threads, cap=options.prepare_cap)

    def bench(self, strategy, parameters, batches, warm_up, cap, seconds=None, may_exceed=False):
        order = {"order": "ascending"} | parameters
        return self.run([self.options.bench, "--dataset", self.dataset, "--preparation", "ladder", "--strategy",
                         strategy.removesuffix("_sorted"), "--cpu-cache", self.cache_bytes(), "--batches", batches,
                         "--warm-up", warm_up, "--scratch", self.work, *option_list(order)], cap, seconds, may_exceed)

    def cache_bytes(self):
        return int(self.options.cache_share * self.options.nodes * self.options.features * 4)

    def measure_baseline(self, strategy):
        """Tunes on two batches after one, then times the window with the best."""
        options = self.options
        tried = []
        for parameters in TUNING[strategy]:
            result = self.bench(strategy, parameters, 2, 1, options.cap, options.patience)
            tried.append({"parameters": parameters, "epoch_read_seconds": result and result["epoch_read_seconds"]})
            print(f"  {strategy} {parameters}: " + (f"{result['epoch_read_seconds']:.2f} s an epoch" if result else
                  f"given up after {options.patience} s"), flush=True)
        timed = [each for each in tried if each["epoch_read_seconds"]]
        if not timed:
            raise SystemExit(f"{strategy}: nothing ended within --patience {options.patience} s")
        timed.sort(key=lambda each: each["epoch_read_seconds"])
        result = self.bench(strategy, timed[0]["parameters"], options.window, options.warm_up, options.cap)
        # Two batches in flight, as few as overlap at all: each takes all its rows' bytes. Where the best reader's
        # memory does not fit beside them, the next best is taken.
        trained = None
        for each in timed:
            training = each["parameters"] | {"train": True, "hidden": options.hidden, "prefetch": 2}
            trained = self.bench(strategy, training, options.train_window, options.train_window, options.cap,
                                 may_exceed=True)
            if trained:
                trained["parameters"] = each["parameters"]
                break
        print(f"  {strategy}: {result['epoch_read_seconds']:.2f} s an epoch, " + (
            f"{trained['epoch_seconds']:.2f} s with training" if trained else "training does not fit the cap"), flush=True)
        return result | {"tried": tried, "trained": trained}

    def train(self, cap):
        options = self.options
        return self.gneiss("train", "--dataset", self.dataset, "--preparation", "ladder", "--model", "sage", "--hidden",
                           options.hidden, "--epochs", options.epochs, "--lr", 0.003, "--seed", 1, "--threads",
                           options.threads, "--eval-every", 0, "--prefetch", options.prefetch, "--run",
                           self.work / "run", "--force", cap=cap)

    def segments(self, strategy, residency):
        drive = self.measure_dataset_drive()
        prepared = self.prepare(residency, self.cache_bytes())
        reads = [self.bench(strategy, {}, 0, 0, self.options.cap) for _ in range(5)]
        reads.sort(key=lambda each: each["epoch_read_seconds"])
        result = reads[2] | {"epoch_read_seconds_of_5": [each["epoch_read_seconds"] for each in reads]}
        result |= {"drive": drive, "prepare": prepared, "train": self.train(self.options.cap)}
        print(f"  {strategy} ({residency}): {result['epoch_read_seconds']:.2f} s an epoch", flush=True)
        return result

    def climb(self):
        options = self.options
        record = {"machine": machine(), "options": vars(options) | {"out": str(options.out)}, "strategies": {}}
        record["generate"] = self.generate()
        record["drive"] = [self.measure_drive()]
        strategies = record["strategies"]
        if "diskgnn" in options.strategies:
            strategies["diskgnn"] = self.segments("diskgnn", "static")
        else:
            self.prepare("static", self.cache_bytes())
        for strategy in TUNING:
            if strategy in options.strategies:
                strategies[strategy] = self.measure_baseline(strategy)
        if "gneiss" in options.strategies:
            strategies["gneiss"] = self.segments("gneiss", options.residency)
        record["drive"].append(self.measure_drive())
        if "memory" in options.strategies:
            prepared = self.prepare("static", options.nodes * options.features * 4 + 2**20)
            strategies["memory"] = self.bench("memory", {}, options.window, 1, None)
            strategies["memory"] |= {"prepare": prepared, "train": self.train(None)}
        record["disk_bytes_left"] = self.disk_bytes()
        return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--gneiss", default="build/release/gneiss")
    add("--bench", default="build/release/bench_ladder")
    add("--work", default="build/bench/ladder", help="working folder, on the drive to be measured")
    add("--out", default="build/bench/ladder/ladder", type=Path, help="results: this name with .md, .json and .svg")
    add("--nodes", type=int, default=1_000_000)
    add("--avg-degree", type=float, default=15)
    add("--degree-skew", type=float, default=0.6, help="as in gneiss generate")
    add("--features", type=int, default=128, help="columns, f32")
    add("--train-nodes", type=int, default=50_000)
    add("--fanout", default="10,10,10")
    add("--batch-size", type=int, default=1024)
    add("--cache-share", type=float, default=0.1, help="of the rows, for every strategy that caches")
    add("--cap", default="1GiB", help="of the control group that reads and trains")
    add("--prepare-cap", default="1GiB", help="of the one that generates and prepares")
    add("--residency", default="belady", help="of gneiss's preparation: belady, auto or static")
    add("--strategies", default="mmap,mmap_sorted,lru,ginex,diskgnn,gneiss,memory")
    add("--window", type=int, default=20, help="batches timed of mmap, lru and ginex")
    add("--warm-up", type=int, default=20, help="batches before them")
    add("--train-window", type=int, default=10, help="batches trained of mmap, lru and ginex, after as many to warm up")
    add("--patience", type=int, default=120, help="seconds for one try of a parameter")
    add("--epochs", type=int, default=3, help="of training")
    add("--hidden", type=int, default=128)
    add("--prefetch", type=int, default=4, help="batches in flight in training")
    add("--threads", type=int, default=2)
    add("--seed", type=int, default=7)
    add("--drive-seconds", type=float, default=2)
    add("--disk-limit", default="48GiB", help="of all that lies in the working folder")
    add("--keep", action="store_true", help="leave the dataset")
    options = parser.parse_args()
    options.strategies = options.strategies.split(",")

    ladder = Ladder(options)
    try:
        record = ladder.climb()
    finally:
        if not options.keep:
            shutil.rmtree(ladder.dataset, ignore_errors=True)
            shutil.rmtree(ladder.work / "run", ignore_errors=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=2, default=str))
    text = ladder_report.write(record, options.out)
    print(text)


if __name__ == "__main__":
    sys.exit(main())
