"""The bench's tables, for the terminal and for README.md, and the table of the steps."""

import json
import re

from workshop.compare import figure, times
from workshop.machine import sentence
from workshop.paths import ROOT
from workshop.stand import labels
from workshop.steps import step, steps

README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "bench" / "results.json"
CHARTS = {  # file: what it shows, for those who cannot see it too
    "journey.svg": "The same mix of requests on all five steps",
    "overlap.svg": "Waiting side by side: throughput and memory from 1 to 1,000 connections",
    "nagle.svg": "Nagle's algorithm on and off, on one kept connection",
    "pool.svg": "Lookups without and with a pool, and through pools of 1 to 60 connections",
    "cache.svg": "The report from PostgreSQL and from Redis",
    "token.svg": "A request without and with a token",
}
WHAT = {  # the two-sided parts, as a row of the table names them
    "nagle": "`GET /` on 1 kept connection: Nagle on → off",
    "pool": "`GET /products/{id}`, 10 connections: a connection for each → a pool",
    "cache": "`GET /data`, 50 connections: from PostgreSQL → from Redis",
    "token": "50 connections: `GET /` → `GET /me` with a token",
    "control": "control, a step against itself",
}


def shown(part: str, results: dict) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, headers and rows of the tables of one part, for the terminal."""
    if part == "journey":
        return [(journey_title(results), *journey(results))]
    if part == "overlap":
        return [("GET /async: requests/s, and share of connections / wait", *overlap(results))]
    found = [(WHAT[part].replace("`", ""), *sides(results[part]))]
    if part == "pool":
        sizes = [[str(s["size"]), figure(s["throughput"]), kinds(s["errors"])]
                 for s in results["pool"]["sizes"]]  # fmt: skip
        found.append(
            ("The same, 60 connections", ["size of the pool", "requests/s", "errors"], sizes)
        )
    return found


def journey_title(results: dict) -> str:
    part = results["journey"]
    return f"The journey: {part['connections']} connections; p50, p99 at {part['rate']} requests/s"


def journey(results: dict) -> tuple[list[str], list[list[str]]]:
    headers = ["step", "requests/s", "step before ×", "p50 ms", "p99 ms", "errors", "of its limit"]
    rows = []
    for told in results["journey"]["steps"]:
        ratio, limit = told["ratio"], told["limit"]
        rows.append([
            f"{told['number']} {step(told['number']).title}",
            f"{figure(told['throughput'])} ({spread(told)})",
            ratio_text(ratio) if ratio else "",
            figure(told["p50"]) if told["p50"] else "cannot",
            figure(told["p99"]) if told["p99"] else "–",
            kinds(told["errors"]),
            f"{limit['share']:.0%} of {figure(limit['per_second'])}",
        ])  # fmt: skip
    return headers, rows


def overlap(results: dict) -> tuple[list[str], list[list[str]]]:
    points = results["overlap"]["points"]
    connections = sorted({point["connections"] for point in points})
    found = {(point["server"], point["connections"]): point for point in points}
    rows = []
    for server, label in labels(results["machine"]["cores"]).items():
        cells = [found.get((server, n)) for n in connections]
        rows.append(
            [label, *(f"{figure(c['throughput'])} {c['share']:.0%}" if c else "" for c in cells)]
        )
    return ["connections", *(f"{n:,}" for n in connections)], rows


def sides(part: dict) -> tuple[list[str], list[list[str]]]:
    """Each side, then the ratio and its verdict."""
    rows = [
        [told["name"], f"{figure(told['throughput'])} ({spread(told)})", kinds(told["errors"])]
        for told in part["sides"]
    ]
    verdicts = [("ratio", part["ratio"])]
    if "of_the_limit" in part:
        verdicts.append(("share of GET /", part["of_the_limit"]))
    rows += [[name, f"{ratio_text(ratio)}, {ratio['verdict']}", ""] for name, ratio in verdicts]
    return ["", "requests/s", "errors"], rows


def techniques(results: dict) -> tuple[list[str], list[list[str]]]:
    """One row for each two-sided part."""
    rows = []
    for name, what in WHAT.items():
        before, after = results[name]["sides"][:2]
        ratio = results[name]["ratio"]
        rows.append([
            what, figure(before["throughput"]), figure(after["throughput"]),
            ratio_text(ratio), ratio["verdict"],
        ])  # fmt: skip
    return ["what", "before", "after", "times (95 % interval)", "verdict"], rows


def ratio_text(ratio: dict) -> str:
    return f"{times(ratio['ratio'])} ({times(ratio['low'])}–{times(ratio['high'])})"


def spread(told: dict) -> str:
    return f"{figure(told['low'])}–{figure(told['high'])}"


def kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "0"


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headers, rule, *rows])


def steps_part() -> str:
    """The table of the steps for README.md, from steps.toml."""
    rows = []
    for s in steps():
        notebook = next((ROOT / "notebooks").glob(f"{s.number:02}_*.ipynb"), None)
        links = f"[lesson]({s.folder}/README.md)"
        links += f", [notebook](notebooks/{notebook.name})" if notebook else ""
        rows.append([str(s.number), f"[{s.title}]({s.folder}/)", s.technique, s.removes,
                     str(s.minutes), links])  # fmt: skip
    headers = ["step", "", "technique", "what it removes", "minutes", "read"]
    rule = ["---:", "---", "---", "---", "---:", "---"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headers, rule, *rows])


def bench_part(results: dict) -> str:
    """What README.md shows of the results."""
    part = results["journey"]
    shares = {entry["request"]: entry["weight"] for entry in part["mix"]}
    mix = ", ".join(f"{weight} % `{name}`" for name, weight in shares.items())
    charts = ", ".join(f"[{name[:-4]}](docs/bench/{name})" for name in CHARTS)
    return "\n\n".join([
        f"![{CHARTS['journey.svg']}](docs/bench/journey.svg)",
        f"{part['connections']} connections ask for {mix}; intervals are 95 %. Latency is that of "
        f"an open loop at {part['rate']} requests/s; “cannot” marks a step that serves fewer.",
        markdown(*journey(results)),
        "Each technique on the requests that it is for, in requests/s:",
        markdown(*techniques(results)),
        f"`GET /async`, which waits {results['overlap']['wait']:g} s, by connections: requests/s, "
        "and their share of connections / wait:",
        markdown(*overlap(results)),
        f"Charts: {charts}. All figures: [results.json](docs/bench/results.json), made by "
        f"`make bench` on {results['made'][:10]} in {results['took_seconds']} s, on "
        f"{sentence(results['machine'])}.",
    ])  # fmt: skip


def between(text: str, marker: str, content: str) -> str:
    """The text with what stands between `<!-- marker… -->` and `<!-- /marker -->` replaced."""
    pattern = rf"(<!-- {marker}\b[^>]*-->\n).*?(<!-- /{marker} -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{content}\n{m[2]}", text, count=1, flags=re.DOTALL)


def renewed(text: str) -> str:
    """README.md's text with both tables as they should be."""
    text = between(text, "steps", steps_part())
    if RESULTS.exists():
        text = between(text, "bench", bench_part(json.loads(RESULTS.read_text())))
    return text


def renew() -> None:
    """Write both tables into README.md."""
    README.write_text(renewed(README.read_text()))
