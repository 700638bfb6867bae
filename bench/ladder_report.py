"""What ladder.py measured, as a table, as a plot, and against what the ladder is to show.

Why:    a number stands beside its ceiling of the same run; what is a bound or is scaled says so where it stands.
"""

import html
import statistics

from gneiss_runs import markdown_table

ORDER = ["mmap", "mmap_sorted", "lru", "ginex", "diskgnn", "gneiss", "memory"]
EXPLAINED = {
    "mmap": "memory map, rows in the order of discovery (PyG)",
    "mmap_sorted": "memory map, each batch's rows sorted first (no library does)",
    "lru": "random reads, LRU row cache (GraphBolt)",
    "ginex": "random reads, Belady row cache (Ginex)",
    "diskgnn": "static cache, packed segments (DiskGNN)",
    "gneiss": "this program",
    "memory": "all features in memory, no cap",
}


def ceilings(record):
    """Bytes a second in sequence and 4 KiB reads a second at random: medians of the run's measurements."""
    return (statistics.median(drive["sequential_bytes_per_second"] for drive in record["drive"]),
            statistics.median(drive["random_4k_reads_per_second"] for drive in record["drive"]))


def train_epoch(result):
    """Median seconds of an epoch without the first, which pays for code; and the seconds it waited for batches."""
    epochs = result["train"]["epochs"]
    epochs = epochs[1:] or epochs
    return (statistics.median(epoch["seconds"] for epoch in epochs),
            statistics.median(epoch["starved_seconds"] for epoch in epochs))


def admission_seconds(result, strategies):
    """What keeping the admitted rows takes an epoch, at the rate at which `memory` gathers; 0 where rows stay."""
    rows = result.get("prepare", {}).get("admitted_rows", 0)
    memory = strategies.get("memory")
    if not rows or not memory or not memory["input_rows"]:
        return 0
    return rows * memory["read_seconds"] / memory["input_rows"]


def compute_seconds(strategies):
    if "memory" not in strategies:
        return None
    seconds, starved = train_epoch(strategies["memory"])
    return seconds - starved


def epoch_cells(result, strategies):
    if "train" in result:
        seconds, starved = train_epoch(result)
        return f"{seconds:.2f} s", f"{starved:.2f} s"
    if result.get("trained"):
        return f"{result['trained']['epoch_seconds']:.2f} s", f"{result['trained']['epoch_starved_seconds']:.2f} s"
    compute = compute_seconds(strategies)
    if compute is None:
        return "", ""
    return f"≥ {max(compute, result['epoch_read_seconds']):.2f} s (bound)", f"≥ {max(0, result['epoch_read_seconds'] - compute):.2f} s"


def preparation_cell(result):
    if "prepare" in result:
        return f"{result['prepare']['seconds']:.1f} s"
    planning = result["parameters"].get("planning_seconds", 0)
    return f"{planning:.1f} s planning" if planning else "none"


def table(record):
    strategies = record["strategies"]
    sequential, _ = ceilings(record)
    rows = []
    for name in ORDER:
        if name not in strategies:
            continue
        result = strategies[name]
        epoch, stall = epoch_cells(result, strategies)
        seconds = result["epoch_read_seconds"]
        rate = result["epoch_bytes_read"] / seconds
        window = f"{result['batches']} of {result['batches_per_epoch']}"
        rows.append([f"`{name}`", f"{seconds:.2f} s", f"{result['epoch_bytes_read'] / 1e9:.2f} GB",
                     f"{result['epoch_read_operations']:,.0f}", f"{result['read_amplification']:.2f}",
                     f"{100 * result['rows_from_cache'] / result['input_rows']:.1f} %",
                     f"{100 * rate / sequential:.0f} %", epoch, stall, preparation_cell(result),
                     f"{result['disk_bytes'] / 1e9:.2f} GB", window])
    header = ["strategy", "read stage", "bytes read", "reads", "amplification", "rows from memory",
              "of sequential speed", "epoch", "waiting", "preparation", "disk beside the features", "batches timed"]
    return markdown_table(header, rows)


def packing_and_prediction(name, result, options):
    """What packing took over reading the features and writing the pack once; what the plan said of the read stage."""
    profile, prepare = result["drive"]["drive_profile"], result["prepare"]
    reading = result["feature_bytes"] / result["drive"]["sequential_bytes_per_second"]
    least = reading + prepare["packed_bytes"] / profile["write_bytes_per_second"]
    predicted = prepare["predicted_read_seconds_per_epoch"]
    peak = max(result["train"].get("control_group_peak_bytes", 0), result.get("control_group_peak_bytes", 0))
    return [f"- Packing of `{name}`: {prepare['packing_seconds']:.1f} s, {prepare['packing_seconds'] / least:.2f} of reading "
            f"the features and writing {prepare['packed_bytes'] / 1e9:.1f} GB once ({profile['write_bytes_per_second'] / 1e9:.2f} "
            f"GB/s written, measured before; goal 1.5). Peak of preparing {prepare['control_group_peak_bytes'] / 2**20:.0f} MiB of "
            f"{options['prepare_cap']}, of reading and training {peak / 2**20:.0f} MiB of {options['cap']}.",
            f"- The plan said {predicted:.2f} s of `{name}`'s read stage: {predicted / result['epoch_read_seconds']:.2f} of the "
            f"median of 5 (goal 0.85 to 1.15)."]


def goals(record):
    strategies = record["strategies"]
    sequential, _ = ceilings(record)
    lines = []
    gneiss = strategies.get("gneiss")
    if not gneiss:
        return ""
    for name, goal in (("mmap", 10), ("mmap_sorted", None), ("lru", 10), ("ginex", 5)):
        if name in strategies:
            ratio = strategies[name]["epoch_read_seconds"] / gneiss["epoch_read_seconds"]
            verdict = "" if goal is None else f"; goal {goal}: {'reached' if ratio >= goal else '**not reached**'}"
            lines.append(f"- Read stage, `{name}` over `gneiss`: {ratio:.1f}{verdict}.")
    if "diskgnn" in strategies:
        diskgnn = strategies["diskgnn"]
        seconds = gneiss["epoch_read_seconds"] / diskgnn["epoch_read_seconds"]
        share = gneiss["epoch_bytes_read"] / diskgnn["epoch_bytes_read"]
        lines.append(f"- `gneiss` reads {share:.2f} of `diskgnn`'s bytes (goal 0.85) in {seconds:.2f} of its time.")
    lines.append(f"- Segments of `gneiss` are read at "
                 f"{100 * gneiss['epoch_bytes_read'] / gneiss['epoch_read_seconds'] / sequential:.0f} % of the drive's "
                 f"sequential speed (goal 90 %).")
    for name in ("diskgnn", "gneiss"):
        if "drive" in strategies.get(name, {}):
            lines += packing_and_prediction(name, strategies[name], record["options"])
    copying = admission_seconds(gneiss, strategies)
    if copying:
        lines.append(f"- Keeping the rows that `gneiss` admits to its cache is part of its epoch, not of its read stage: "
                     f"about {copying:.2f} s an epoch at the rate of `memory`'s gather.")
    if "memory" in strategies and "train" in gneiss:
        epoch, _ = train_epoch(gneiss)
        memory, _ = train_epoch(strategies["memory"])
        reading = gneiss["train"]["bytes_read"] / record["options"]["epochs"] / sequential
        bound = max(memory, reading)
        lines.append(f"- Epoch of `gneiss` {epoch:.2f} s; `memory` {memory:.2f} s, bytes read ÷ sequential speed "
                     f"{reading:.2f} s: {epoch / bound:.2f} times the larger (goal 1.1).")
    return "\n".join(lines) + "\n"


TEXT = """# The ladder

{machine}; {nodes:,} nodes, average degree {degree}, {features} features f32 = {feature_gb:.2f} GB; fanout {fanout}, batch
size {batch}, {batches} batches an epoch of {rows:,.0f} rows on average ({batch_mb:.0f} MB); cache {cache:.0f} % of the rows;
control group {cap} with page cache (`memory`: none), preparation in {prepare_cap}; files dropped from the cache first.

The drive in the same run: {sequential:.2f} GB/s in sequence, {random:,.0f} random 4 KiB reads a second
({random_share:.0f} % of that speed).

{table}
Bytes, reads and seconds are per epoch, scaled by rows where not all batches were timed. Amplification: bytes read over the
bytes of the rows that did not come from memory. Epoch: SAGE, {layers} layers, {hidden} wide: by `gneiss train`, median
without the first; of `mmap`, `lru` and `ginex` by the same steps on the batches timed, scaled. "bound", where two batches
in flight do not fit the cap: the larger of the read stage and the computation, as if everything else were free.
Preparation of `diskgnn` and `gneiss` contains sampling, which the others do while they train.

{goals}
{legend}
Parameters chosen (of those tried, in the JSON file):

{parameters}
![Read stage]({svg})
"""


def write(record, out):
    options, strategies = record["options"], record["strategies"]
    sequential, random = ceilings(record)
    some = next(iter(strategies.values()))
    rows = some["epoch_input_rows"] / some["batches_per_epoch"]
    legend = "".join(f"- `{name}`: {EXPLAINED[name]}\n" for name in ORDER if name in strategies)
    shown = ("gap_bytes", "read_bytes_max", "queue_depth", "readers", "alignment_bytes", "gather_threads", "advise_random",
             "cache_rows")
    parameters = "".join(
        f"- `{name}`: " + ", ".join(f"{key} {value}" for key, value in strategies[name]["parameters"].items() if key in shown)
        + "\n" for name in ORDER if name in strategies)
    text = TEXT.format(
        machine=record["machine"], nodes=options["nodes"], degree=options["avg_degree"], features=options["features"],
        feature_gb=some["feature_bytes"] / 1e9, fanout=options["fanout"], batch=options["batch_size"],
        batches=some["batches_per_epoch"], rows=rows, batch_mb=rows * some["row_bytes"] / 1e6,
        cache=100 * options["cache_share"], cap=options["cap"], prepare_cap=options["prepare_cap"],
        sequential=sequential / 1e9, random=random, random_share=100 * random * 4096 / sequential, table=table(record),
        layers=len(options["fanout"].split(",")), hidden=options["hidden"], goals=goals(record), legend=legend,
        parameters=parameters, svg=out.with_suffix(".svg").name)
    out.with_suffix(".md").write_text(text)
    out.with_suffix(".svg").write_text(plot(record))
    return text


STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 15px; }
  .small { font-size: 11px; fill: #57606a; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .floor { stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 5 3; }
  .baseline { fill: #8c959f; } .packed { fill: #54aeff; } .ours { fill: #1a7f37; } .memory { fill: #bf8700; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .small { fill: #9198a1; } .grid { stroke: #3d444d; } .floor { stroke: #d29922; }
    .baseline { fill: #6e7681; } .packed { fill: #388bfd; } .ours { fill: #3fb950; } .memory { fill: #d29922; }
  }
"""
COLOUR = {"diskgnn": "packed", "gneiss": "ours", "memory": "memory"}


def plot(record):
    """Bars of the read stage's seconds on a logarithmic scale, drawn by hand: readable on light and dark."""
    import math
    strategies = record["strategies"]
    names = [name for name in ORDER if name in strategies]
    seconds = {name: strategies[name]["epoch_read_seconds"] for name in names}
    low = math.floor(math.log10(min(seconds.values())))
    high = math.ceil(math.log10(max(seconds.values())))
    high = max(high, low + 1)
    left, right, top, step = 110, 690, 56, 34
    bottom = top + step * len(names)
    at = lambda value: left + (math.log10(value) - low) / (high - low) * (right - left)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {bottom + 46}" role="img" '
             f'aria-label="Seconds of the read stage per epoch, by strategy">', f"<style>{STYLE}</style>",
             '<text class="title" x="16" y="24">Read stage of one epoch</text>',
             '<text class="small" x="16" y="42">seconds, logarithmic; bytes read and amplification beside the bars</text>']
    for power in range(low, high + 1):
        x = at(10**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**power:g} s</text>')
    for i, name in enumerate(names):
        result = strategies[name]
        y = top + i * step
        width = max(2.0, at(seconds[name]) - left)
        label = f"{seconds[name]:.2f} s · {result['epoch_bytes_read'] / 1e9:.1f} GB"
        if result["epoch_bytes_read"]:
            label += f" · ×{result['read_amplification']:.1f}"
        parts.append(f'<text x="{left - 8}" y="{y + 19}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect class="{COLOUR.get(name, "baseline")}" x="{left}" y="{y + 4}" width="{width:.1f}" '
                     f'height="{step - 12}" rx="2"/>')
        parts.append(f'<text class="small" x="{left + width + 6:.1f}" y="{y + 19}">{html.escape(label)}</text>')
    if "gneiss" in strategies:
        floor = strategies["gneiss"]["epoch_bytes_read"] / ceilings(record)[0]
        if floor > 10**low:
            parts.append(f'<line class="floor" x1="{at(floor):.1f}" y1="{top - 4}" x2="{at(floor):.1f}" y2="{bottom}"/>')
            parts.append(f'<text class="small" x="{left}" y="{bottom + 34}">dashed: the bytes of gneiss at the '
                         f"drive's sequential speed, {floor:.2f} s</text>")
    return "\n".join([*parts, "</svg>"]) + "\n"
