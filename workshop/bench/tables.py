"""The rows of the bench's tables, as `make bench` prints them; see readme.py for README.md."""

from typing import Any

from workshop.measuring.formatting import format_number, format_ratio

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


SERVERS = {  # of the overlap: in a narrow table, and where there is room
    "step01_basic": ("one by one", "one at a time (step 1)"),
    "threads": ("threads", "threads of Flask's server"),
    "step02_gevent": ("gevent", "gevent (step 2)"),
    "gunicorn": ("gunicorn", "gunicorn, {cores} gevent workers"),
    "quart": ("Quart", "Quart, async def"),
}


def labels(cores: int) -> dict[str, str]:
    """The servers of the overlap, for charts."""
    return {server: long.format(cores=cores) for server, (_, long) in SERVERS.items()}


def of_part(part: str, results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, headers and rows of the tables of one part, for the terminal."""
    if part == "journey":
        return [(journey_title(results), *journey(results))]
    if part == "overlap":
        return [("GET /async: requests/s, and share of connections / wait", *overlap(results))]
    found = [(WHAT[part].replace("`", ""), *sides(results[part]))]
    if part == "pool":
        sizes = [[str(s["size"]), format_number(s["throughput"]), kinds(s["errors"])]
                 for s in results["pool"]["sizes"]]  # fmt: skip
        found.append(
            ("The same, 60 connections", ["size of the pool", "requests/s", "errors"], sizes)
        )
    return found


def journey_title(results: dict[str, Any]) -> str:
    part = results["journey"]
    return f"The journey: {part['connections']} connections; p50, p99 at {part['rate']} requests/s"


def journey(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """One row for each step, in 80 columns."""
    headers = ["step", "requests/s (95 %)", "× step before", "p50 p99 ms", "of limit"]
    rows = []
    for entry in results["journey"]["steps"]:
        ratio = entry["ratio"]
        latency = [format_number(value) if value else "–" for value in (entry["p50"], entry["p99"])]
        rows.append([
            f"{entry['number']} {entry['name'].split('_', 1)[1]}",
            throughput(entry),
            ratio_text(ratio) if ratio else "",
            " ".join(latency) if entry["p50"] else "cannot",
            f"{entry['limit']['share']:.0%}",
        ])  # fmt: skip
        if entry["errors"]:
            rows.append(["  errors", kinds(entry["errors"]), "", "", ""])
    return headers, rows


def overlap(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each server, a column for each number of connections, in 80 columns."""
    points = results["overlap"]["points"]
    connections = sorted({point["connections"] for point in points})
    found = {(point["server"], point["connections"]): point for point in points}
    rows = []
    for server, (short, _) in SERVERS.items():
        cells = [found.get((server, n)) for n in connections]
        rows.append([
            short,
            *(f"{format_number(c['throughput'])} {c['share']:.0%}" if c else "" for c in cells),
        ])  # fmt: skip
    return ["connections", *(f"{n:,}" for n in connections)], rows


def sides(part: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Each side, then the ratio and its verdict."""
    rows = [
        [
            entry["name"],
            throughput(entry),
            kinds(entry["errors"]),
        ]
        for entry in part["sides"]
    ]
    verdicts = [("ratio", part["ratio"])]
    if "of_the_limit" in part:
        verdicts.append(("to GET /", part["of_the_limit"]))
    rows += [[name, f"{ratio_text(ratio)} {ratio['verdict']}", ""] for name, ratio in verdicts]
    if "limit" in part:
        limit = part["limit"]
        rows.append(
            ["the bare query", f"{limit['share']:.0%} of {format_number(limit['per_second'])}", ""]
        )
    return ["", "requests/s", "errors"], rows


def ratio_text(ratio: dict[str, Any]) -> str:
    middle, low, high = (format_ratio(ratio[name]) for name in ("ratio", "low", "high"))
    return f"{middle} ({low}–{high})"


def throughput(entry: dict[str, Any]) -> str:
    low, high = format_number(entry["low"]), format_number(entry["high"])
    return f"{format_number(entry['throughput'])} ({low}–{high})"


def kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "0"
