#!/usr/bin/env python3
"""What the parts of bench/gpu.sh left, as one table: report.py RESULTS OUT writes OUT/gpu.md and OUT/gpu.json.

Every number stands beside its ceiling from the same run; what a part did not leave is said to be missing. Needs the Python
3 standard library only.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gneiss_runs import machine, markdown_table, percent  # noqa: E402

GATHER_GOAL, PRODUCT_GOAL = 0.70, 0.85
PRECISIONS = ("f32", "tf32", "bf16")


def read(path):
    """A part that was stopped may have left half a file, or none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def verdict(share, goal):
    return f"{100 * share:.0f} %" + ("" if share >= goal else f", below {100 * goal:.0f} %")


def drive(results):
    """{"io_uring direct": bytes a second or None where it was refused}"""
    rates = {}
    for access in ("direct", "buffered"):
        for engine in ("io_uring", "pread"):
            measured = read(results / f"io_{engine}_{access}.json")
            rates[f"{engine} {access}"] = max((m["bytes_per_second"] for m in measured["measurements"]), default=None) \
                if measured else None
    return rates


def drive_ceiling(rates):
    """Direct reads, or where none were taken those through the page cache."""
    for access in ("direct", "buffered"):
        known = [rate for name, rate in rates.items() if name.endswith(access) and rate]
        if known:
            return max(known), access
    return None, None


def parts_section(data):
    rows = [[part["name"], part["seconds"], part["outcome"]] for part in data["parts"]]
    return ["## Parts", "", markdown_table(["part", "s", "outcome"], rows)]


def ceilings_section(data):
    rows = []
    bench, torch = data["bench_gpu"], data["torch_products"]
    if bench:
        rows.append(["the device's copy, read and written", f"{bench['device_copy_bytes_per_second'] * 1e-9:.0f} GB/s"])
        rows.append(["the bus, up", f"{bench['bus']['up_bytes_per_second'] * 1e-9:.1f} GB/s"])
        rows.append(["the bus, down", f"{bench['bus']['down_bytes_per_second'] * 1e-9:.1f} GB/s"])
    for product in torch["products"] if torch else []:
        if product["shape"] == "square":
            rate = product.get("operations_per_second_of_bf16_operands", product["operations_per_second"])
            rows.append([f"PyTorch's square product, {product['precision']}", f"{rate * 1e-12:.1f} TFLOP/s"])
    for name, rate in data["drive"].items():
        rows.append([f"the drive, sequential, {name}", f"{rate * 1e-9:.2f} GB/s" if rate else "refused, or not measured"])
    return ["## Ceilings", "", markdown_table(["what", "rate"], rows)]


def operators_section(data):
    bench = data["bench_gpu"]
    if not bench:
        return []
    rows = [[o["name"], f"{1e3 * o['seconds']:.3f}", f"{o['bytes_asked'] / o['seconds'] * 1e-9:.0f}",
             verdict(o["share_of_copy"], GATHER_GOAL), f"{100 * o['least_share_of_copy']:.0f} %"]
            for o in bench["operators"]]
    return ["## Operators", "",
            f"{bench['destinations']:,} destinations, {bench['sources']:,} sources, {bench['edges']:,} edges, "
            f"{bench['columns']} columns; goal: {100 * GATHER_GOAL:.0f} % of the device's copy.", "",
            markdown_table(["operator", "ms", "GB/s, a row for each edge", "of the copy", "each row once"], rows)]


def products_section(data):
    bench, torch = data["bench_gpu"], data["torch_products"]
    if not bench:
        return []
    key = lambda product: (product["precision"], product["shape"], product["side"])
    theirs = {key(product): product for product in torch["products"]} if torch else {}
    rows = []
    for ours in bench["products"]:
        row = [ours["precision"], ours["shape"], ours["side"], f"{ours['rows']} x {ours['inputs']} x {ours['outputs']}",
               f"{ours['operations_per_second'] * 1e-12:.1f}"]
        other = theirs.get(key(ours))
        if other:
            narrow = other.get("operations_per_second_of_bf16_operands")
            row += [f"{other['operations_per_second'] * 1e-12:.1f}",
                    verdict(ours["operations_per_second"] / other["operations_per_second"], PRODUCT_GOAL),
                    f"{narrow * 1e-12:.1f}" if narrow else ""]
        else:
            row += ["not measured", "", ""]
        rows.append(row)
    return ["## Products", "", f"In TFLOP/s; goal: {100 * PRODUCT_GOAL:.0f} % of PyTorch's from f32 operands.", "",
            markdown_table(["precision", "layer", "side", "rows x inputs x outputs", "ours", "PyTorch", "share",
                            "PyTorch, bf16 operands"], rows)]


def bus_section(data):
    bench = data["bench_gpu"]
    if not bench:
        return []
    up = bench["bus"]["up_bytes_per_second"]
    rate = lambda value: f"{value * 1e-9:.1f} GB/s ({100 * value / up:.0f} %)"
    rows = [[r["row_bytes"], rate(r["bus_bytes_per_second"]), f"{r['gather_bytes_per_second'] * 1e-9:.1f} GB/s",
             rate(r["staged_bytes_per_second"])] for r in bench["bus"]["rows"]]
    return ["## Rows of the host over the bus", "",
            markdown_table(["bytes a row", "read by the device (of a pinned copy)", "gathered by one thread", "gathered, then "
                            "copied"], rows)]


def step_section(data):
    step = data["step"]
    if not step:
        return []
    rows = []
    for row in step["rows"]:
        cells = [row["model"], row["precision"], f"{row['ours_ms']:.2f}"]
        for who in ("default", "csr"):
            has = f"{who}_ms" in row
            cells += [f"{row[f'{who}_ms']:.2f}", f"{row[f'{who}_ms'] / row['ours_ms']:.2f}"] if has else ["-", "-"]
        rows.append(cells + [f"{max(value for name, value in row.items() if name.endswith('difference')):.1e}"])
    return ["## A whole step on the same blocks", "", f"{step['library']}.", "",
            markdown_table(["model", "precision", "ours, ms", "PyG's default path, ms", "times as long", "CSR, ms",
                            "times as long", "losses differ by at most"], rows)]


def graph_section(data):
    rows, losses = [], {}
    best, access = drive_ceiling(data["drive"])
    for name, title in (("train_tiers", "from the drive, a tenth on the device"), ("train_device", "all rows on the device"),
                        ("train_cpu", "from the drive, on the CPU")):
        run = data[name]
        if not run:
            continue
        losses[name] = run["epochs"][0]["loss"]
        for epoch in run["epochs"][-1:]:
            read_rate = epoch["bytes_read"] / epoch["seconds"]
            share = f" ({100 * read_rate / best:.0f} % of the drive's)" if best else ""
            rows.append([title, f"{epoch['seconds']:.3f}", f"{1e3 * epoch['seconds'] / epoch['batches']:.2f}",
                         f"{epoch.get('device_busy_seconds', 0) / epoch['seconds']:.0%}" if "device_busy_seconds" in epoch
                         else "-", f"{read_rate * 1e-9:.2f} GB/s{share}",
                         f"{run['io_engine']}, {'direct' if run['direct_reads'] else 'buffered'}", f"{losses[name]:.5f}"])
    if not rows:
        return []
    note = ["The drive's best: " + access + " reads.", ""] if access else []
    return ["## A generated graph, last epoch of each run", "", *note,
            markdown_table(["rows", "epoch, s", "step, ms", "device busy", "read", "reads", "first epoch's loss"], rows)]


def accuracy_section(data):
    if not data["accuracy"]:
        return []
    rows = [[graph, *(percent(devices[d]["test"]) for d in ("cpu", "cuda") if d in devices)]
            for graph, devices in data["accuracy"]["graphs"].items()]
    return ["## Test accuracy, %", "", f"{data['accuracy']['model']}, the same preparations and seeds.", "",
            markdown_table(["graph", "CPU", "CUDA"], rows)]


def tests_line(results):
    path = results / "tests.txt"
    lines = [line for line in path.read_text().splitlines() if "test cases:" in line] if path.exists() else []
    return lines[-1].replace("[doctest] ", "").replace("|", ",") if lines else None


def main():
    results, out = Path(sys.argv[1]), Path(sys.argv[2])
    parts = []
    if (results / "parts.tsv").exists():
        for line in (results / "parts.tsv").read_text().splitlines():
            name, seconds, outcome = line.split("\t")
            parts.append({"name": name, "seconds": int(seconds), "outcome": outcome})
    names = ("device", "bench_gpu", "torch_products", "step", "prepare_tiers", "prepare_device", "train_tiers",
             "train_device", "train_cpu", "accuracy")
    data = {name: read(results / f"{name}.json") for name in names}
    data |= {"machine": machine(), "parts": parts, "drive": drive(results), "tests": tests_line(results)}
    driver = results / "driver.txt"
    data["driver"] = driver.read_text().strip() if driver.exists() else None
    device = data["device"] or {}
    lines = ["# On a CUDA device", "", "Made by `bench/gpu.sh`: see `bench/gpu.md`.", ""]
    if device.get("is_emulated"):
        lines += ["**The device is emulated: times mean nothing here.**", ""]
    lines += [f"{device.get('name') or 'No device'}{'; ' + data['driver'] if data['driver'] else ''}; {data['machine']}"
              f"{'; tests: ' + data['tests'] if data['tests'] else ''}.", ""]
    for section in (ceilings_section, operators_section, products_section, bus_section, step_section, graph_section,
                    accuracy_section, parts_section):
        lines += section(data)
    text = "\n".join(lines)
    (out / "gpu.md").write_text(text)
    (out / "gpu.json").write_text(json.dumps(data, indent=1))
    print(text)


if __name__ == "__main__":
    main()
