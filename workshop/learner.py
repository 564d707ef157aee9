"""The learner's own work: laid once, never overwritten."""

import re
import shutil
import time
from datetime import datetime
from pathlib import Path

from workshop import progress
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import Check, Step

WORK = ROOT / "work"
NOT_COPIED = shutil.ignore_patterns("README.md", "__pycache__", "alternatives", "*.pyc")


def folder(step: Step) -> Path:
    """Where the learner's copy of this step lies, whether it is there or not."""
    return WORK / step.folder


def app_of(step: Step, given: str | None) -> Path:
    """The folder to check: the one given, else the learner's work, else the step itself."""
    if given:
        chosen = Path(given).resolve()
    else:
        chosen = folder(step) if folder(step).is_dir() else step.path
    if not (chosen / "app.py").is_file():
        raise WorkshopError(f"There is no app.py in {chosen}: set APP to the folder of your app.")
    return chosen


def start(step: Step) -> Path:
    """Lay the learner's copy of the step before, with a TASK.md; returns its folder."""
    target = folder(step)
    if step.before is None:
        raise WorkshopError("Step 1 is there to be read: see step01_basic/, then `make start 2`.")
    if target.exists():
        raise WorkshopError(
            f"{_shown(target)} is there already: go on with it, or begin again with "
            f"`make reset {step.number}`, which keeps it beside."
        )
    WORK.mkdir(exist_ok=True)
    # Under another name first: a copy that was interrupted is never taken for the learner's.
    half = target.with_name(target.name + ".new")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(step.before.path, half, ignore=NOT_COPIED)
    (half / "TASK.md").write_text(task(step))
    half.rename(target)
    with progress.of_step(step.number) as kept:
        kept.setdefault("started", time.time())
    return target


def reset(step: Step) -> Path | None:
    """Put the learner's copy aside, dated, and lay a new one; returns where the old one is."""
    target = folder(step)
    old = None
    if target.exists():
        old = target.with_name(f"{target.name}.{datetime.now():%Y-%m-%d-%H%M%S}")
        target.rename(old)
    start(step)
    return old


def task(step: Step) -> str:
    """TASK.md: the lesson's task, the files to edit, the checks to pass."""
    files = "\n".join(f"- `{name}`{_novelty(step, name)}" for name in step.changes)
    checks = "\n".join(f"- {check.title}" for check in step.checks.values())
    n = step.number
    return (
        f"# Step {n}: {step.title}\n\n{section(step, 'Your task')}\n\n"
        f"## Files to edit\n\nAll others stay as they are.\n\n{files}\n\n"
        f"## Checks to pass\n\n{checks}\n\n"
        f"## Commands\n\n"
        f"- `make check {n}` checks this folder, `make watch {n}` checks it on each save\n"
        f"- `make hint {n}` gives the next hint for what fails\n"
        f"- `make step {n} APP={_shown(folder(step))}` serves it\n"
        f"- `make solution {n}` compares it with the finished step\n"
    )


def section(step: Step, heading: str) -> str:
    """The text under a heading of the step's lesson."""
    lesson = (step.path / "README.md").read_text()
    found = re.search(rf"^## {heading}\n+(.*?)(?=^## |\Z)", lesson, re.DOTALL | re.MULTILINE)
    if not found:
        raise WorkshopError(f"{step.folder}/README.md has no part called {heading}.")
    return found[1].strip()


def next_hint(step: Step, check_id: str | None = None) -> tuple[Check, int]:
    """The check that the next hint is about, and which of its hints (from 0) that is.

    It is about the first check that failed last time; when none did, about the step's own in
    their order. Raises WorkshopError when all have been shown.
    """
    with progress.of_step(step.number) as kept:
        for check in _in_question(step, kept, check_id):
            shown = kept["hints"].get(check.id, 0)
            if shown < len(check.hints):
                kept["hints"][check.id] = shown + 1
                return check, shown
    raise WorkshopError(
        f"You have seen every hint for this: `make diff {step.number}` shows what changes in the "
        f"finished step."
    )


def _in_question(step: Step, kept: dict, check_id: str | None) -> list[Check]:
    known = {c.id: c for s in _up_to(step) for c in s.checks.values()}
    if check_id:
        if check_id not in known:
            raise WorkshopError(f"There is no check {check_id}: they are {', '.join(known)}.")
        return [known[check_id]]
    failed = [known[id] for id in kept.get("failed", []) if id in known]
    return failed[:1] or list(step.checks.values())


def _up_to(step: Step) -> list[Step]:
    return [*_up_to(step.before), step] if step.before else [step]


def _novelty(step: Step, name: str) -> str:
    return "" if (step.before.path / name).exists() else " (new)"


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
