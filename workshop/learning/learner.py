"""The learner's own work: copied once, never overwritten."""

import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from workshop.errors import WorkshopError
from workshop.learning import progress
from workshop.learning.task import before, task
from workshop.locks import locked
from workshop.paths import ROOT, shown, unused
from workshop.steps import Check, Step, checks_up_to

WORK = ROOT / "work"
NOT_COPIED = shutil.ignore_patterns("README.md", "__pycache__", "alternatives", "*.pyc")


class NothingFailedError(WorkshopError):
    """There is nothing to give a hint about."""


def folder(step: Step) -> Path:
    """Where the learner's copy of this step is or would be."""
    return WORK / step.folder


def code(app: Path) -> set[str]:
    """The names of the Python files of an app folder, without the alternatives to its server."""
    return {path.name for path in app.glob("*.py")}


def app_of(step: Step, given: str | None) -> Path:
    """The folder to check: the one given, else the learner's work, else the step itself."""
    if given:
        chosen = Path(given).resolve()
    else:
        chosen = folder(step) if folder(step).is_dir() else step.path
    if not (chosen / "app.py").is_file():
        raise WorkshopError(f"There is no app.py in {chosen}: set APP to the folder of your app.")
    return chosen


def is_own(step: Step, app: Path) -> bool:
    """Whether this folder is the learner's work on the step; step 1 is read as it stands."""
    return app == (folder(step) if step.before else step.path)


def start(step: Step) -> Path:
    """Copy the step before into the learner's folder, with a TASK.md; returns the folder."""
    with _locked():
        return _start(step)


def reset(step: Step) -> Path | None:
    """Put the learner's copy aside, dated, and make a new one; returns where the old one is."""
    target = folder(step)
    old = None
    with _locked():
        if target.exists():
            old = unused(target.with_name(f"{target.name}.{datetime.now():%Y-%m-%d-%H%M%S}"))
            target.rename(old)
        _start(step)
    return old


def _locked() -> AbstractContextManager[TextIO]:
    return locked(progress.FILE.with_name("work.lock"))


def _start(step: Step) -> Path:
    target = folder(step)
    origin = before(step)
    if target.exists():
        raise WorkshopError(
            f"{shown(target)} already exists: go on with it, or start again with "
            f"`make reset {step.number}`, which keeps your old work under another name."
        )
    WORK.mkdir(exist_ok=True)
    # Renamed when it is complete: a copy that was interrupted is never taken for the learner's.
    with TemporaryDirectory(prefix=f".{target.name}.", dir=WORK) as place:
        copy = Path(place) / "copy"
        shutil.copytree(origin.path, copy, ignore=NOT_COPIED)
        for name in step.given:
            shutil.copy(step.path / name, copy / name)
        (copy / "TASK.md").write_text(task(step))
        copy.rename(target)
    with progress.of_step(step.number) as kept:
        kept.setdefault("started", time.time())
        for old in (
            "checked",
            "passed",
            "failed",
            "reasons",
        ):  # they describe work that is put aside
            kept.pop(old, None)
    return target


def next_hint(step: Step, check_id: str | None = None) -> tuple[Check, int, bool]:
    """The check that the next hint is about, how many of its hints to show, and if one is new.

    It is about the check with this id, else about the first that failed last time; before the
    first run, about the step's own in their order. Its first hint is the one that fits what failed,
    which the report has already shown. A hint of a check that passed isn't counted. Raises
    NothingFailedError when every check passed, and WorkshopError for an unknown id.
    """
    with progress.of_step(step.number) as kept:
        candidates = _candidates(step, kept, check_id)
        for check in candidates:
            seen = kept["hints"].get(check.id, 0)
            if seen < len(check.hints):
                reported = check.id in kept.get("failed", []) and not seen
                kept["hints"][check.id] = seen + 1 + reported
                if check.id not in kept.get("passed", []):
                    kept["asked"] = kept.get("asked", 0) + 1
                return check, kept["hints"][check.id], True
    return candidates[0], len(candidates[0].hints), False


def _candidates(step: Step, kept: dict[str, Any], check_id: str | None) -> list[Check]:
    reasons = kept.get("reasons", {})
    known = {
        check.id: replace(check, hints=check.hints_about(reasons.get(check.id, "")))
        for check in checks_up_to(step.number)
    }
    if check_id and check_id not in known:
        similar = get_close_matches(check_id, known) or list(step.checks)[:3]
        raise WorkshopError(f"There is no check {check_id}. Did you mean {' or '.join(similar)}?")
    if check_id:
        return [known[check_id]]
    if "checked" not in kept:
        return [known[id] for id in step.checks]
    failed = [known[id] for id in kept.get("failed", []) if id in known]
    if not failed:
        ours = f"`make solution {step.number}` compares your work with ours, and "
        raise NothingFailedError(
            f"Every check passed, so you need no hint. {ours if step.before else ''}"
            f"`make hint {step.number} CHECK=id` gives the hints of one check all the same."
        )
    return failed[:1]
