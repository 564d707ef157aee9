"""Check many learners' work side by side: each has a process, databases and a time of its own."""

import csv
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from workshop.checking import runner
from workshop.checking.outcome import Observer
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import Check, Step, checks_up_to

SIDE_BY_SIDE = 4
LIMIT = 180  # seconds for one submission
COLUMNS = ("submission", "verdict", "passed", "failed", "seconds", "failing checks", "notes")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:left;vertical-align:top;"
    "border-bottom:1px solid #8886}.pass{color:#0a7d34}.fail{color:#c0392b}"
)


@dataclass
class Mark(Observer):
    """What the checks said of one submission; hears what else there is to say of it."""

    name: str
    total: int
    failing: list[str] = field(default_factory=list)  # titles
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def on_warning(self, text: str) -> None:
        self.notes.append(text)

    @property
    def verdict(self) -> str:
        return "fail" if self.failing or self.notes else "pass"

    def row(self) -> list[str]:
        """The values of COLUMNS."""
        passed = self.total - len(self.failing)
        numbers = [str(passed), str(len(self.failing)), f"{self.seconds:.0f}"]
        return [self.name, self.verdict, *numbers, "; ".join(self.failing), "; ".join(self.notes)]


def mark(
    step: Step,
    submissions: Path,
    tell: Callable[[Mark], None] = lambda mark: None,
    limit: float = LIMIT,
    only: list[Check] | None = None,
) -> list[Mark]:
    """Mark every folder in `submissions`; `tell` hears each mark as it comes.

    Nothing in the submissions is changed. Raises WorkshopError when there are none.
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
                tell(done.result())
        except BaseException:
            markers.shutdown(cancel_futures=True)
            raise
    return [done.result() for done in running]


def mark_one(step: Step, folder: Path, limit: float, only=None) -> Mark:
    """The mark of one submission, checked as a copy."""
    wanted = only if only is not None else checks_up_to(step.number)
    result = Mark(folder.name, len(wanted))
    started = time.monotonic()
    app = app_in(folder, step)
    if app is None:
        result.failing = [check.title for check in wanted]
        result.notes.append("holds no app.py")
        return result
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / step.folder
        # A link could lead out of the submission: links stay links, to be broken in the copy.
        shutil.copytree(app, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            outcomes = runner.run(step.number, copy, wanted, result, lanes=1, limit=limit)
            result.failing = [o.check.title for o in outcomes if not o.passed]
        except WorkshopError as error:
            result.notes.append(str(error))
    result.seconds = time.monotonic() - started
    return result


def app_in(folder: Path, step: Step) -> Path | None:
    """Where a submission holds its app: itself, the learner's folder or the step's in a fork."""
    for place in (folder, folder / "work" / step.folder, folder / step.folder):
        if (place / "app.py").is_file():
            return place
    return None


def write(marks: list[Mark], step: Step, folder: Path = ROOT / "build") -> tuple[Path, Path]:
    """Write the table as CSV and as a page; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, page = folder / f"marks-{step.folder}.csv", folder / f"marks-{step.folder}.html"
    rows = [mark.row() for mark in marks]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *(map(harmless, row) for row in rows)])
    page.write_text(as_page(rows, step))
    return table, page


def harmless(value: str) -> str:
    """A value that a spreadsheet does not take for a formula."""
    return "'" + value if value[:1] in ("=", "+", "-", "@") else value


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
