"""Check many learners' work side by side: each has its own process, databases and time limit.

Each submission is checked by a process that runs this module: what the submission kills there, or
leaves behind, is its own. It still runs as the user who marks it: docs/instructor.md says what that
means.
"""

import csv
import ctypes
import itertools
import json
import multiprocessing.forkserver
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from multiprocessing import resource_tracker
from pathlib import Path

import psutil

from workshop.checking import runner
from workshop.checking.leftovers import end_orphans
from workshop.checking.outcome import Observer
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import stop_leftovers
from workshop.services.daemon import living
from workshop.steps import Check, Step, checks_up_to

SIDE_BY_SIDE = 4
LIMIT = 600  # seconds for one submission, on a machine that has nothing else to do
GRACE = 90  # seconds more, for the process that checks to stop what it started
MAX_FILES, MAX_BYTES, MAX_DEPTH = 5_000, 50_000_000, 50  # of a submission
NOT_COPIED = ("__pycache__", ".git", ".venv", "venv")
COLUMNS = ("submission", "verdict", "core", "production", "seconds", "failing checks", "notes")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:left;vertical-align:top;"
    "border-bottom:1px solid #8886}.pass{color:#0a7d34}.fail{color:#c0392b}"
)


@dataclass
class Mark:
    """What the checks found in one submission; `ran` is false where they could not run."""

    name: str
    checks: Sequence[Check]
    failing: set[str] = field(default_factory=set)  # ids
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ran: bool = True

    @property
    def verdict(self) -> str:
        """A submission passes with its core, unless there is something else to say of it."""
        if not self.ran:
            return "not checked"
        core = {check.id for check in self.checks if check.level == "core"}
        return "fail" if core & self.failing or self.notes else "pass"

    def row(self) -> list[str]:
        """The values of COLUMNS."""
        titles = [check.title for check in self.checks if check.id in self.failing]
        counts = [self._passed(level) for level in ("core", "production")]
        seconds = f"{self.seconds:.0f}"
        return [self.name, self.verdict, *counts, seconds, "; ".join(titles), "; ".join(self.notes)]

    def _passed(self, level: str) -> str:
        checks = {check.id for check in self.checks if check.level == level}
        return f"{len(checks - self.failing)} of {len(checks)}" if self.ran else "unknown"


def mark(
    step: Step,
    submissions: Path,
    on_mark: Callable[[Mark], None] = lambda mark: None,
    limit: float | None = None,
    only: Sequence[Check] | None = None,
) -> list[Mark]:
    """Mark every folder in `submissions`; `on_mark` gets each mark as it comes.

    Nothing in the submissions is changed. `limit` is in seconds for each; without one it grows
    with the load of the machine. Raises WorkshopError when there are no submissions.
    """
    if not submissions.is_dir():
        raise WorkshopError(f"There is no folder {submissions}: set DIR to the submissions.")
    folders = sorted(f for f in submissions.iterdir() if f.is_dir() and f.name[0] != ".")
    if not folders:
        raise WorkshopError(f"{submissions} holds no folder: each submission is a folder in it.")
    with ThreadPoolExecutor(SIDE_BY_SIDE) as markers:
        running = [markers.submit(mark_one, step, folder, limit, only) for folder in folders]
        try:
            for done in as_completed(running):
                on_mark(done.result())
        except BaseException:
            markers.shutdown(cancel_futures=True)
            raise
    if not all(done.result().ran for done in running):  # a process that was killed left its own
        end_orphans()
        stop_leftovers()
    return [done.result() for done in running]


def mark_one(
    step: Step, folder: Path, limit: float | None = None, only: Sequence[Check] | None = None
) -> Mark:
    """The mark of one submission, checked as a copy. Parameters as for `mark`."""
    result = Mark(printable(folder.name), checks_up_to(step.number) if only is None else only)
    started = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="mark-"))
    try:
        app = app_in(folder, step)
        if app is None:
            result.failing = {check.id for check in result.checks}
            result.notes.append("holds no app.py")
        else:
            _copy(app, place / step.folder)
            load = os.getloadavg()[0] / (os.cpu_count() or 1)
            _check(step, place / step.folder, result, limit or LIMIT * max(1, load))
    except (WorkshopError, OSError, shutil.Error) as error:
        result.ran = False
        result.notes.append(printable(str(error)))
    finally:
        # It may hold folders within folders by the thousand, at which shutil.rmtree gives up.
        subprocess.run(["rm", "-rf", place], stderr=subprocess.DEVNULL, check=False)
    result.seconds = time.monotonic() - started
    return result


def app_in(folder: Path, step: Step) -> Path | None:
    """Where a submission holds its app: itself, the learner's folder or the step's in a fork."""
    for place in (folder, folder / "work" / step.folder, folder / step.folder):
        if (place / "app.py").is_file():
            return place
    return None


def _copy(app: Path, target: Path) -> None:
    """Copy an app. Raises WorkshopError for one that no learner would hand in."""
    folders, files, size = [(app, 0)], 0, 0
    while folders:
        folder, depth = folders.pop()
        with os.scandir(folder) as scan:
            entries = list(itertools.islice(scan, MAX_FILES))
        files += len(entries) + 1
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders += [] if entry.name in NOT_COPIED else [(Path(entry), depth + 1)]
            elif entry.is_file(follow_symlinks=False):
                size += entry.stat(follow_symlinks=False).st_size
            elif not entry.is_symlink():
                raise WorkshopError(f"holds {entry.name}, which is neither a file nor a folder")
        if files > MAX_FILES or size > MAX_BYTES or depth > MAX_DEPTH:
            raise WorkshopError(
                f"holds more than {MAX_FILES} files, {MAX_BYTES // 10**6} MB, or folders "
                f"{MAX_DEPTH} deep"
            )
    # A link could lead out of the submission: links stay links, to be broken in the copy.
    shutil.copytree(app, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))


def _check(step: Step, app: Path, result: Mark, limit: float) -> None:
    """Let a process of its own check the app. Raises WorkshopError where it could not."""
    ids = [check.id for check in result.checks]
    request = json.dumps([step.number, str(app), limit, ids])
    command = [sys.executable, "-m", __spec__.name, request]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit + GRACE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WorkshopError(f"could not be stopped after {limit:.0f} s, and was killed") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise WorkshopError(f"the process that checks it ended ({reason[0]})") from error
    result.failing, result.ran = set(answer["failing"]), answer["ran"]
    result.notes += map(printable, answer["notes"])


class Notes(Observer):
    """Collects what else there is to say of the app."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_warning(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


def main(request: str) -> None:
    """Check one app and print what was found, as JSON: in a process of its own."""
    number, app, limit, ids = json.loads(request)
    checks = [check for check in checks_up_to(number) if check.id in ids]
    notes, failing, ran = Notes(), [], True
    helpers = _adopt_strays()
    try:
        outcomes = runner.run(number, Path(app), checks, notes, lanes=1, limit=limit)
        failing = [o.check.id for o in outcomes if not o.passed or o.waits_for]
        if broken := [o for o in outcomes if not o.passed | o.by_assertion | o.crashed]:
            ran = len(broken) < len(outcomes)
            notes.on_warning(f"{len(broken)} checks broke: {broken[0].message}")
    except WorkshopError as error:
        ran = False
        notes.on_warning(str(error))
    if _end_strays(helpers):
        notes.on_warning("left processes behind")
    print(json.dumps({"failing": failing, "ran": ran, "notes": notes.texts}))


def _end_strays(helpers: set[int]) -> int:
    """Kill our descendants other than the helpers, until none is left; returns how many there were.

    We look again each time, because a process may start another one while it is being killed.
    """
    count, deadline = 0, time.monotonic() + GRACE
    while time.monotonic() < deadline:
        found = psutil.Process().children(recursive=True)
        strays = [process for process in found if process.pid not in helpers and living(process)]
        if not strays:
            break
        count += len(strays)
        for stray in strays:
            with suppress(psutil.NoSuchProcess):
                stray.kill()
        psutil.wait_procs(strays, timeout=1)
    return count


def _adopt_strays() -> set[int]:
    """Make processes whose parent ends our children, and return the ids of those we have already.

    Only Linux can do that: elsewhere a process that left and emptied its environment is not found.
    """
    if sys.platform == "linux":
        set_child_subreaper = 36  # of linux/prctl.h
        ctypes.CDLL(None).prctl(set_child_subreaper, 1)
        multiprocessing.forkserver.ensure_running()
    resource_tracker.ensure_running()
    return {process.pid for process in psutil.Process().children()}


def write(marks: list[Mark], step: Step, folder: Path = ROOT / "build") -> tuple[Path, Path]:
    """Write the table as CSV and as a page; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, page = folder / f"marks-{step.folder}.csv", folder / f"marks-{step.folder}.html"
    rows = [mark.row() for mark in marks]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *(map(harmless, row) for row in rows)])
    page.write_text(as_page(rows, step), encoding="utf-8")
    return table, page


def printable(text: str) -> str:
    """The text with escapes for what is no UTF-8, and for what a terminal might obey."""
    valid = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in valid)


def harmless(value: str) -> str:
    """A printable value that a spreadsheet does not take for a formula."""
    return "'" + value if value[:1] in tuple("=+-@＝＋－＠") else value


def as_page(rows: list[list[str]], step: Step) -> str:
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "".join(
        f'<tr class="{row[1]}">' + "".join(f"<td>{escape(v)}</td>" for v in row) + "</tr>\n"
        for row in rows
    )
    title = escape(f"Step {step.number}: {step.title}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>\n<table><tr>{head}</tr>\n{body}</table></html>\n"
    )


if __name__ == "__main__":
    main(sys.argv[1])
