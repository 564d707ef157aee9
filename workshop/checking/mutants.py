"""Mutants of a finished step: which small changes to its code does no check notice?

mutmut switches its mutants on inside of functions, in a process that imported them for pytest, so
the settings, routes and patches at the top of a module never change; Cosmic Ray can run any
command, but it rewrites the files in place, and it leaves out no statement, argument or line of a
script. Ours changes a copy of the folder, which the checks start as they start any app.

gunicorn's files and alternatives/ are left out: the checks never start them.
"""

import compileall
import hashlib
import json
import random
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from workshop.checking import runner
from workshop.checking.mutation import Mutant, Source
from workshop.checking.outcome import Observer, Outcome
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import Services, private
from workshop.steps import CHECKS, Check, Step

SURVIVORS = ROOT / "tests" / "mutants" / "survivors.toml"
NEVER_STARTED = {"gunicorn.conf.py", "gunicorn_guard.py"}
FIELDS = ("file", "function", "before", "after")


@dataclass(frozen=True)
class Result:
    """What the checks made of a mutant.

    `caught_by` is the id of the first check that failed, None where all passed; `problem` says why
    nothing is known, where the checks could not run.
    """

    mutant: Mutant
    caught_by: str | None
    seconds: float
    problem: str = ""

    @property
    def survived(self) -> bool:
        return not (self.caught_by or self.problem)

    @property
    def verdict(self) -> str:
        if self.survived:
            return "SURVIVES"
        return self.problem or f"caught by {self.caught_by}"


def sources(step: Step) -> list[Source]:
    """The files of a step that the checks start."""
    files = sorted(path for path in step.path.glob("*.py") if path.name not in NEVER_STARTED)
    return [Source(path.name, path.read_text()) for path in files]


def draw(found: Iterable[Source], seed: int, count: int) -> list[Mutant]:
    """Up to `count` mutants at random; a larger count with the same seed begins with the same."""
    edits = [(source, *edit) for source in found for edit in source.edits()]
    random.Random(seed).shuffle(edits)
    drawn: dict[tuple, Mutant] = {}
    for source, function, edit in edits:
        if len(drawn) == count:
            break
        if mutant := source.mutant(function, edit):
            drawn.setdefault(mutant.key, mutant)
    return list(drawn.values())


def explained() -> dict[tuple, str]:
    """Why the known survivors change nothing, by the key of the mutant."""
    entries = tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    return {tuple(entry[field] for field in FIELDS): entry["why"] for entry in entries}


class Record:
    """The results so far, in a file: a run goes on where one before it ended.

    What was caught stays caught as long as the step's code is the same; what survived is tried
    again once the checks have changed.
    """

    def __init__(self, step: Step, folder: Path = ROOT / "build"):
        self.path = folder / f"mutants-{step.folder}.json"
        self.code = digest(step.path.rglob("*.py"))
        self.checks = digest(CHECKS.glob("*.py"))
        self.entries = self._read()

    def _read(self) -> dict[tuple, dict]:
        try:
            kept = json.loads(self.path.read_text())
            if kept["code"] != self.code:
                return {}
            return {tuple(entry[field] for field in FIELDS): entry for entry in kept["results"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def result(self, mutant: Mutant) -> Result | None:
        """What is known of this mutant already."""
        entry = self.entries.get(mutant.key)
        if entry and (entry["caught_by"] or entry["checks"] == self.checks):
            return Result(mutant, entry["caught_by"], entry["seconds"])
        return None

    def add(self, result: Result) -> None:
        key = result.mutant.key
        entry: dict[str, Any] = dict(zip(FIELDS, key, strict=True))
        entry |= {"caught_by": result.caught_by, "seconds": round(result.seconds, 1)}
        self.entries[key] = entry | {"checks": self.checks}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            json.dumps({"code": self.code, "results": [*self.entries.values()]}, indent=1)
        )
        fresh.replace(self.path)


def digest(paths: Iterable[Path]) -> str:
    content = b"".join(path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(content).hexdigest()


def run(
    step: Step,
    mutants: list[Mutant],
    record: Record,
    jobs: int,
    on_result: Callable[[Result], None],
    log: Callable[[str], None],
) -> list[Result]:
    """Check the mutants of a step, `jobs` of them side by side, each with services of its own.

    `on_result` gets each result as it comes, `log` what is prepared before. Raises WorkshopError
    where the step itself does not pass.
    """
    results = [result for mutant in mutants if (result := record.result(mutant))]
    settled = {result.mutant.key for result in results}
    waiting = [mutant for mutant in mutants if mutant.key not in settled]
    if not waiting:
        return results
    with ExitStack() as stack:
        free: SimpleQueue[Services] = SimpleQueue()
        for _ in range(min(jobs, len(waiting))):
            free.put(stack.enter_context(private(log=log, scram_iterations=1)))
        log("Checking the step as it is, before anything is changed …")
        limit = 60 + 4 * _seconds_unchanged(step, free)
        workers = stack.enter_context(ThreadPoolExecutor(free.qsize()))
        running = [workers.submit(check, step, mutant, free, limit) for mutant in waiting]
        try:
            for done in as_completed(running):
                result = done.result()
                if not result.problem:
                    record.add(result)
                results.append(result)
                on_result(result)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _seconds_unchanged(step: Step, free: SimpleQueue) -> float:
    unchanged = Mutant("app.py", "", "", "", (step.path / "app.py").read_text(), "")
    result = check(step, unchanged, free, limit=1800)
    if not result.survived:
        reason = result.problem or f"the check {result.caught_by} fails"
        raise WorkshopError(f"{step.folder} itself does not pass ({reason}): mend that first.")
    return result.seconds


def check(step: Step, mutant: Mutant, free: SimpleQueue, limit: float) -> Result:
    """Check one mutant, on services that are taken from `free` and given back.

    Stops at the first check that fails, and after `limit` seconds, which counts as a failure too.
    """
    services = free.get()
    started = time.monotonic()
    try:
        services.start(log=lambda text: None)  # a mutant that hung may have left them stopped
        services.fresh_database()
        with tempfile.TemporaryDirectory() as place:
            app = lay(step, mutant, Path(place) / step.folder)
            failure = first_failure(step, app, services, limit, runner.in_order(step.number))
        caught_by = failure.check.id if failure else None
        return Result(mutant, caught_by, time.monotonic() - started)
    except WorkshopError as error:
        return Result(mutant, None, time.monotonic() - started, problem=str(error))
    finally:
        free.put(services)


def lay(step: Step, mutant: Mutant, target: Path) -> Path:
    """Copy the step to `target` with the change in it; returns the folder."""
    shutil.copytree(step.path, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / mutant.file).write_text(mutant.source)
    compileall.compile_dir(target, quiet=1)  # once, not at each start
    return target


def first_failure(
    step: Step, app: Path, services: Services, limit: float, checks: list[Check]
) -> Outcome | None:
    """What the first of these checks says that the app fails, or None."""
    run = runner.Run(step.number, app, checks, [services], limit=limit)
    return next((o for o in run.outcomes(UntilFailure(run)) if not o.passed), None)


class UntilFailure(Observer):
    """Lets no check begin after the first that fails.

    Nothing is killed: a check that is cut short leaves PostgreSQL read-only, or Redis full.
    """

    def __init__(self, run: runner.Run):
        self.run = run

    def on_result(self, outcome: Outcome) -> None:
        if not outcome.passed:
            self.run.hand_out_no_more()
