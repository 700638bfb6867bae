"""What the whole-run benchmarks share: run the program, read its summaries, write Markdown tables.

Why:    every number of a table comes from the JSON that the program itself writes, never from its text.
Needs:  the Python 3 standard library only.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


class Program:
    """One gneiss binary; its output goes to a log, since minutes of epoch lines drown what a table says."""

    def __init__(self, path, work, threads):
        self.path = Path(path).resolve()
        if not os.access(self.path, os.X_OK):
            sys.exit(f"{path} is not a program; build it with `make` or name another with --gneiss")
        self.work = Path(work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.threads = threads

    def run(self, *arguments):
        """Returns the summary; a failure ends the benchmark with the program's own sentence."""
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            summary = Path(scratch) / "summary.json"
            command = [self.path, "--quiet", *arguments, "--threads", self.threads, "--summary", summary]
            with open(self.work / "log.txt", "a+b") as log:
                begin = log.tell()
                log.write((" ".join(map(str, command)) + "\n").encode())
                log.flush()
                # Threads that spin at barriers take the processor from what else runs on a shared machine.
                environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
                status = subprocess.run(list(map(str, command)), stdout=log, stderr=log, env=environment).returncode
                if status != 0:
                    log.seek(begin)
                    sys.exit(log.read().decode(errors="replace")[-2000:] + f"\nexit code {status}")
            return json.loads(summary.read_text())

    def version(self):
        return subprocess.run([str(self.path), "--version"], capture_output=True, text=True).stdout.strip()


CAP = Path(__file__).resolve().parent.parent / "tests" / "support" / "memory_cap.sh"


class CappedProgram:
    """One gneiss binary whose commands may run in a memory control group, on one dataset whose files are then cold."""

    def __init__(self, path, work, dataset_name):
        self.path = Path(path).resolve()
        self.work = Path(work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.dataset = self.work / dataset_name

    def run(self, *arguments, cap=None):
        """The summary; with `cap`, such as 1GiB, with the group's peak. A failure ends the benchmark with its sentence."""
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            summary, peak = Path(scratch) / "summary.json", Path(scratch) / "peak"
            command = [self.path, "--quiet", *arguments, "--summary", summary]
            if cap:
                cold = ["--cold", self.dataset] if self.dataset.exists() else []
                command = ["bash", CAP, "--peak", peak, *cold, cap, *command]
            command = list(map(str, command))
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                                  env={**os.environ, "OMP_WAIT_POLICY": "passive"})
            if done.returncode != 0:
                sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
            result = json.loads(summary.read_text())
            if cap:
                result["control_group_peak_bytes"] = int(peak.read_text())
            return result

    def clear(self):
        shutil.rmtree(self.dataset, ignore_errors=True)
        shutil.rmtree(self.work / "run", ignore_errors=True)


def option_list(options):
    """{"batch_size": 1024, "fanout": "10,10"} as --batch-size 1024 --fanout 10,10; True is a bare flag."""
    arguments = []
    for name, value in options.items():
        arguments.append("--" + name.replace("_", "-"))
        if value is not True:
            arguments.append(str(value))
    return arguments


def runs_of(summary):
    """The single runs behind a summary of `train`, with --runs 1 too."""
    return summary.get("runs", [summary])


def mean_and_deviation(values):
    """Of the sample, as the program computes it."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def percent(values):
    mean, deviation = mean_and_deviation([100 * value for value in values])
    return f"{mean:.2f} ± {deviation:.2f}"


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def part_from(file, heading):
    """What a person wrote below the numbers, from `heading` on, stays when they are measured again."""
    text = file.read_text() if file.exists() else ""
    return text[text.index(heading):] if heading in text else ""


def keep_sections(text, file, headings):
    """`text` with these sections as `file` has them: what was measured elsewhere stays."""
    old = dict(section_pairs(file.read_text())) if file.exists() else {}
    return "".join(old[heading] if heading in headings and heading in old else section
                   for heading, section in section_pairs(text))


def section_pairs(text):
    """Each section of the second level with its heading; what stands before the first has none."""
    first, *others = text.split("\n## ")
    return [("", first)] + [(other.split("\n", 1)[0], "\n## " + other) for other in others]


def line_from(file, heading, start):
    """A table's row in that section of `file`; empty: it has none."""
    sections = dict(section_pairs(file.read_text())) if file.exists() else {}
    return next((line + "\n" for line in sections.get(heading, "").splitlines() if line.startswith(start)), "")


def machine():
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} processors"


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
