#!/usr/bin/env python3
"""Training from disk under a memory cap against the same engine with all features in memory.

    bench/out_of_core.py build/release/gneiss FOLDER [--runs 3] [--epochs 5] [--cap 400MiB] [--cpu-cache 160MiB]

Graph: 1 M nodes, average degree 15, 128 features f32 (512 MB), 100,000 training nodes; 2 hops of 10,10,
batch 1,000, hidden 128. Runs alternate, so that a noisy machine is noisy to both; the drive's own speed is
measured between them. What is quoted is the ratio of medians: epoch from disk over the larger of (epoch in
memory, bytes read / the drive's sequential speed).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CAP = os.path.join(HERE, "..", "tests", "support", "memory_cap.sh")


def run(command, quiet=True):
    done = subprocess.run(command, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
                          text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout or ''}")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gneiss")
    parser.add_argument("folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cap", default="400MiB")
    parser.add_argument("--cpu-cache", default="160MiB")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    at = lambda name: os.path.join(args.folder, name)
    dataset = at("out_of_core.gneiss")
    if not os.path.exists(dataset):
        run([args.gneiss, "generate", dataset, "--nodes", "1000000", "--avg-degree", "15", "--features", "128",
             "--classes", "32", "--train-share", "0.1", "--seed", "7"])
    for name, cache in (("disk", args.cpu_cache), ("memory", "10GiB")):
        run([args.gneiss, "prepare", "--dataset", dataset, "--name", name, "--fanout", "10,10", "--batch-size", "1000",
             "--sample-epochs", "1", "--cpu-cache", cache, "--force", "--summary", at(f"prepare-{name}.json")])

    def train(name, capped):
        command = [args.gneiss, "train", "--dataset", dataset, "--preparation", name, "--model", "sage", "--hidden",
                   "128", "--epochs", str(args.epochs), "--lr", "0.003", "--seed", "1", "--threads", "2", "--run",
                   at(f"run-{name}"), "--force", "--summary", at(f"{name}.json")]
        if capped:
            command = ["bash", CAP, "--peak", at("peak"), "--cold", dataset, args.cap] + command
        run(command)
        return load(at(f"{name}.json"))

    def drive_speed():
        run([args.gneiss, "bench", "io", "--path", args.folder, "--size", "1GiB", "--seconds", "2", "--pattern",
             "sequential", "--engine", "io_uring", "--block-size", "1MiB", "--queue-depth", "16", "--summary",
             at("drive.json")])
        return load(at("drive.json"))["sequential_bytes_per_second"]

    disk, memory, speeds = [], [], []
    for _ in range(args.runs):
        speeds.append(drive_speed())
        disk.append(train("disk", True))
        memory.append(train("memory", False))
    # The first epoch of a run pays for code and packed weights; the median leaves it out by itself.
    epoch = lambda results: statistics.median(s for r in results for s in r["epoch_seconds"])
    accuracy = lambda results: statistics.mean(r["test_accuracy"] for r in results)
    bytes_per_epoch = disk[0]["bytes_read"] / args.epochs
    speed = statistics.median(speeds)
    reading = bytes_per_epoch / speed
    bound = max(epoch(memory), reading)
    with open(at("peak"), encoding="utf-8") as file:
        peak = int(file.read())
    waiting = statistics.median(e["starved_seconds"] / e["seconds"] for r in disk for e in r["epochs"])
    print(f"features 488 MiB, cap {args.cap} with page cache, peak {peak / 2**20:.0f} MiB, cpu cache {args.cpu_cache}, "
          f"{args.runs} alternating runs of {args.epochs} epochs")
    print(f"epoch from disk        {epoch(disk):6.2f} s   waiting for batches {waiting * 100:.1f} % of it")
    print(f"epoch in memory        {epoch(memory):6.2f} s   the same engine, all rows cached")
    print(f"bytes read / drive     {reading:6.2f} s   {bytes_per_epoch / 1e9:.2f} GB at {speed / 1e9:.2f} GB/s, the "
          "drive's sequential speed in the same run")
    print(f"ratio to the larger    {epoch(disk) / bound:6.2f}     goal: at most 1.15")
    print(f"test accuracy          {accuracy(disk) * 100:6.2f} % from disk, {accuracy(memory) * 100:.2f} % in memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
