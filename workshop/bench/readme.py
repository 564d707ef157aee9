"""The tables that README.md shows: the steps, from steps.toml, and the bench, from its results."""

import json
import re
from typing import Any

from workshop.bench.tables import (
    CHARTS,
    SERVERS,
    WHAT,
    journey,
    kinds,
    labels,
    overlap,
    ratio_text,
)
from workshop.measuring.formatting import format_number
from workshop.measuring.machine import sentence
from workshop.paths import ROOT
from workshop.steps import Step, step, steps

README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "bench" / "results.json"


def renew() -> None:
    """Write both tables into README.md."""
    README.write_text(renewed(README.read_text()))


def renewed(text: str) -> str:
    """README.md's text with both tables as they should be."""
    text = between(text, "steps", steps_part())
    if RESULTS.exists():
        text = between(text, "bench", bench_part(json.loads(RESULTS.read_text())))
    return text


def between(text: str, marker: str, content: str) -> str:
    """The text with what stands between `<!-- marker… -->` and `<!-- /marker -->` replaced."""
    pattern = rf"(<!-- {marker}\b[^>]*-->\n).*?(<!-- /{marker} -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{content}\n{m[2]}", text, count=1, flags=re.DOTALL)


def steps_part() -> str:
    """The table of the steps for README.md, from steps.toml."""
    rows = []
    for s in steps():
        notebook = next((ROOT / "notebooks").glob(f"{s.number:02}_*.ipynb"), None)
        links = f"[lesson]({s.folder}/README.md)"
        links += f", [notebook](notebooks/{notebook.name})" if notebook else ""
        rows.append([str(s.number), f"[{s.title}]({s.folder}/)", s.technique, s.removes,
                     minutes(s), links])  # fmt: skip
    headers = ["step", "", "technique", "what it removes", "minutes", "read"]
    rule = ["---:", "---", "---", "---", "---:", "---"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headers, rule, *rows])


def minutes(step: Step) -> str:
    """Those for the core and, where somebody estimated them, those for production."""
    return f"{step.minutes} + {step.minutes_production}".removesuffix(" + 0")


def bench_part(results: dict[str, Any]) -> str:
    """What README.md shows of the results."""
    part = results["journey"]
    shares = {entry["request"]: entry["weight"] for entry in part["mix"]}
    mix = ", ".join(f"{weight} % `{name}`" for name, weight in shares.items())
    charts = ", ".join(f"[{name[:-4]}](docs/bench/{name})" for name in CHARTS)
    return "\n\n".join([
        f"![{CHARTS['journey.svg']}](docs/bench/journey.svg)",
        f"{part['connections']} connections ask for {mix}; intervals are 95 %. Latency is that of "
        f"an open loop at {part['rate']} requests/s; “cannot” marks a step that serves fewer.",
        markdown(*journey_columns(results)),
        "Each technique on the requests that it is for, in requests/s:",
        markdown(*techniques(results)),
        f"`GET /async`, which waits {results['overlap']['wait']:g} s, by connections: requests/s, "
        "their share of connections / wait, and the server's memory:",
        markdown(*overlap_columns(results)),
        f"Charts: {charts}. All figures: [results.json](docs/bench/results.json), made by "
        f"`make bench` on {results['made'][:10]} in {results['took_seconds']} s, on "
        f"{sentence(results['machine'])}.",
    ])  # fmt: skip


def journey_columns(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The same for README.md, where there is more room."""
    headers = ["step", "requests/s", "times the step before", "p50, p99 in ms", "errors", "limit"]
    _, short = journey(results)
    rows = []
    by_number = {row[0][:1]: row for row in short}
    for entry in results["journey"]["steps"]:
        limit, row = entry["limit"], by_number[str(entry["number"])]
        title = f"{entry['number']} {step(entry['number']).title}"
        of = f"{limit['share']:.0%} of {format_number(limit['per_second'])}: {limit['why']}"
        rows.append([title, *row[1:3], row[3].replace(" ", ", "), kinds(entry["errors"]), of])
    return headers, rows


def techniques(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One row for each two-sided part."""
    rows = []
    for name, what in WHAT.items():
        before, after = results[name]["sides"][:2]
        ratio = results[name]["ratio"]
        rows.append([
            what, format_number(before["throughput"]), format_number(after["throughput"]),
            ratio_text(ratio), ratio["verdict"],
        ])  # fmt: skip
    return ["what", "before", "after", "times (95 % interval)", "verdict"], rows


def overlap_columns(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The same for README.md, and the memory at the most connections."""
    headers, rows = overlap(results)
    names = labels(results["machine"]["cores"])
    points = results["overlap"]["points"]
    most = max(point["connections"] for point in points)
    memory = {p["server"]: p["peak_mib"] for p in points if p["connections"] == most}
    rows = [
        [names[server], *row[1:], f"{memory.get(server, 0):.0f}"]
        for server, row in zip(SERVERS, rows, strict=True)
    ]
    return [*headers, f"MiB at {most:,}"], rows


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headers, rule, *rows])
