"""The rows of the bench's tables, as `make bench` prints them; see readme.py for README.md."""

from workshop.compare import figure, times

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
    "quart": ("Quart", "Quart on hypercorn"),
}


def labels(cores: int) -> dict[str, str]:
    """The servers of the overlap, for charts."""
    return {server: long.format(cores=cores) for server, (_, long) in SERVERS.items()}


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
    """One row for each step, in 80 columns."""
    headers = ["step", "requests/s (95 %)", "× step before", "p50 p99 ms", "of limit"]
    rows = []
    for told in results["journey"]["steps"]:
        ratio = told["ratio"]
        latency = [figure(value) if value else "–" for value in (told["p50"], told["p99"])]
        rows.append([
            f"{told['number']} {told['name'].split('_', 1)[1]}",
            f"{figure(told['throughput'])} ({spread(told)})",
            ratio_text(ratio) if ratio else "",
            " ".join(latency) if told["p50"] else "cannot",
            f"{told['limit']['share']:.0%}",
        ])  # fmt: skip
        if told["errors"]:
            rows.append(["  errors", kinds(told["errors"]), "", "", ""])
    return headers, rows


def overlap(results: dict) -> tuple[list[str], list[list[str]]]:
    """A row for each server, a column for each number of connections, in 80 columns."""
    points = results["overlap"]["points"]
    connections = sorted({point["connections"] for point in points})
    found = {(point["server"], point["connections"]): point for point in points}
    rows = []
    for server, (short, _) in SERVERS.items():
        cells = [found.get((server, n)) for n in connections]
        rows.append([
            short, *(f"{figure(c['throughput'])} {c['share']:.0%}" if c else "" for c in cells)
        ])  # fmt: skip
    return ["connections", *(f"{n:,}" for n in connections)], rows


def sides(part: dict) -> tuple[list[str], list[list[str]]]:
    """Each side, then the ratio and its verdict."""
    rows = [
        [told["name"], f"{figure(told['throughput'])} ({spread(told)})", kinds(told["errors"])]
        for told in part["sides"]
    ]
    verdicts = [("ratio", part["ratio"])]
    if "of_the_limit" in part:
        verdicts.append(("to GET /", part["of_the_limit"]))
    rows += [[name, f"{ratio_text(ratio)} {ratio['verdict']}", ""] for name, ratio in verdicts]
    if "limit" in part:
        limit = part["limit"]
        rows.append(
            ["the bare query", f"{limit['share']:.0%} of {figure(limit['per_second'])}", ""]
        )
    return ["", "requests/s", "errors"], rows


def ratio_text(ratio: dict) -> str:
    return f"{times(ratio['ratio'])} ({times(ratio['low'])}–{times(ratio['high'])})"


def spread(told: dict) -> str:
    return f"{figure(told['low'])}–{figure(told['high'])}"


def kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in errors.items()) or "0"
