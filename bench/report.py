"""Writes the figures: CSV with every number, Markdown with the table, SVG with the ratios."""

import csv
import os

import plot

REFERENCE = "mica"
FIELDS = ("wall", "cpu", "peak")


def by_workload(rows):
    grouped = {}
    for row in rows:
        grouped.setdefault(row.workload, []).append(row)
    return grouped


def ratios(row, group):
    """mica's median over this peer's, for wall, CPU and memory; None where there is no figure."""
    reference = next((other for other in group if other.peer == REFERENCE), None)
    found = {}
    for field in FIELDS:
        mine, theirs = (reference.median(field) if reference else None), row.median(field)
        found[field] = mine / theirs if mine is not None and theirs else None
    return found


def seconds(value):
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def ratio(value):
    return "" if value is None else f"{value:.2f}"


def markdown_row(row, group):
    if not row.samples:
        return f"| {row.peer} | failed: {row.reason.replace('|', '/') or 'no sample'} | | | | | | | |"
    walls = [sample.wall for sample in row.samples]
    spread = f"{seconds(min(walls))} to {seconds(max(walls))}"
    figures = [str(len(walls)), seconds(row.median("wall")), spread, seconds(row.median("cpu")), f"{row.median('peak') / 1e6:.1f}"]
    shares = ratios(row, group)
    cells = [row.peer, *figures, *(ratio(shares[field]) for field in FIELDS)]
    return "| " + " | ".join(cells) + " |"


def markdown(rows, facts, picture):
    lines = ["# Benchmarks", ""]
    for name, value in facts.items():
        if name != "versions":
            lines.append(f"- {name}: {value}")
    lines += ["", "| peer | how | version |", "| --- | --- | --- |"]
    lines += [f"| {name} | {how} | {version} |" for name, (how, version) in facts["versions"].items()]
    lines += ["", "Medians. A ratio is mica's figure over the peer's: below 1 mica needs less. Peak memory is the"]
    lines += ["largest resident set of any one process, the peer's daemons included; CPU is that of all processes,"]
    lines += ["the daemons' share included.", "", f"![ratios of wall time]({picture})"]
    for workload, group in by_workload(rows).items():
        lines += ["", f"## {workload}", "", f"{group[0].title}.", ""]
        lines += ["| peer | samples | wall s | min to max | CPU s | peak MB | wall ratio | CPU ratio | memory ratio |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
        lines += [markdown_row(row, group) for row in group]
    return "\n".join(lines) + "\n"


def csv_row(row, group):
    shares = ratios(row, group)
    walls = [sample.wall for sample in row.samples]
    record = {"workload": row.workload, "peer": row.peer, "runs": len(row.samples), "failed": row.reason}
    if walls:
        record |= {"wall_median": f"{row.median('wall'):.6f}"}
        record |= {"wall_min": f"{min(walls):.6f}", "wall_max": f"{max(walls):.6f}"}
        record |= {"cpu_median": f"{row.median('cpu'):.6f}", "peak_bytes": int(row.median("peak"))}
    for field in FIELDS:
        record[f"{field}_ratio"] = "" if shares[field] is None else f"{shares[field]:.4f}"
    return record


CSV_COLUMNS = (
    ["workload", "peer", "runs", "wall_median", "wall_min", "wall_max", "cpu_median", "peak_bytes"]
    + [f"{field}_ratio" for field in FIELDS]
    + ["failed"]
)


def bars(rows):
    """The groups of the plot: a workload and its (peer, wall ratio or None, reason)."""
    groups = []
    for workload, group in by_workload(rows).items():
        peers = [row for row in group if row.peer != REFERENCE]
        groups.append((workload, [(row.peer, ratios(row, group)["wall"], bool(row.samples)) for row in peers]))
    return groups


def write(base, rows, facts):
    """Writes base.csv, base.md and base.svg and gives their paths."""
    os.makedirs(os.path.dirname(base), exist_ok=True)
    with open(base + ".csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        for group in by_workload(rows).values():
            writer.writerows(csv_row(row, group) for row in group)
    with open(base + ".md", "w", encoding="utf-8") as file:
        file.write(markdown(rows, facts, os.path.basename(base) + ".svg"))
    with open(base + ".svg", "w", encoding="utf-8") as file:
        file.write(plot.svg(bars(rows)))
    return [base + extension for extension in (".csv", ".md", ".svg")]
