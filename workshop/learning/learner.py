"""The learner's own work: laid once, never overwritten."""

import re
import shutil
import time
from datetime import datetime
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.learning import progress
from workshop.paths import ROOT, shown
from workshop.steps import Check, Step

WORK = ROOT / "work"
NOT_COPIED = shutil.ignore_patterns("README.md", "__pycache__", "alternatives", "*.pyc")


def folder(step: Step) -> Path:
    """Where the learner's copy of this step lies, whether it is there or not."""
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


def start(step: Step) -> Path:
    """Lay the learner's copy of the step before, with a TASK.md; returns its folder."""
    target = folder(step)
    if step.before is None:
        raise WorkshopError("Step 1 is there to be read: see step01_basic/, then `make start 2`.")
    if target.exists():
        raise WorkshopError(
            f"{shown(target)} is there already: go on with it, or begin again with "
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
        for old in ("checked", "passed", "failed"):  # said of work that is put aside
            kept.pop(old, None)
    return target


def reset(step: Step) -> Path | None:
    """Put the learner's copy aside, dated, and lay a new one; returns where the old one is."""
    target = folder(step)
    old = None
    if target.exists():
        old = _unused(target.with_name(f"{target.name}.{datetime.now():%Y-%m-%d-%H%M%S}"))
        target.rename(old)
    start(step)
    return old


def _unused(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-{count}") for count in range(2, 100))
    return path if not path.exists() else next(name for name in names if not name.exists())


def task(step: Step) -> str:
    """TASK.md: the lesson's task, the files to edit, the checks to pass."""
    to_edit = [name for name in step.changes if not name.startswith("alternatives/")]
    files = "\n".join(f"- `{name}`{_novelty(step, name)}" for name in to_edit)
    checks = "\n".join(f"- {check.title}" for check in step.checks.values())
    n = step.number
    return (
        f"# Step {n}: {step.title}\n\n"
        f"The lesson is {step.folder}/README.md. This folder began as {step.before.folder}/.\n\n"
        f"{section(step, 'Your task') or step.technique}\n\n"
        f"## Files to edit\n\nAll others stay as they are.\n\n{files}\n\n"
        f"## Checks to pass\n\n{checks}\n\n"
        f"## Commands\n\n"
        f"- `make check {n}` checks this folder, `make watch {n}` checks it on each save\n"
        f"- `make hint {n}` gives the next hint for what fails\n"
        f"- `make step {n} APP={shown(folder(step))}` serves it\n"
        f"- `make solution {n}` compares it with the finished step\n"
    )


def section(step: Step, heading: str) -> str:
    """The text under a heading of the step's lesson; empty where there is none."""
    lesson = step.path / "README.md"
    text = lesson.read_text() if lesson.exists() else ""
    found = re.search(rf"^## {heading}\n+(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


def next_hint(step: Step, check_id: str | None = None) -> tuple[Check, int, bool]:
    """The check that the next hint is about, how many of its hints to show, and if one is new.

    It is about the first check that failed last time; when none did, about the step's own in
    their order. Of a check that failed the report has shown the first hint.
    """
    with progress.of_step(step.number) as kept:
        candidates = _in_question(step, kept, check_id)
        for check in candidates:
            seen = kept["hints"].get(check.id, 0)
            if seen < len(check.hints):
                reported = check.id in kept.get("failed", []) and not seen
                kept["hints"][check.id] = seen + 1 + reported
                kept["asked"] = kept.get("asked", 0) + 1
                return check, kept["hints"][check.id], True
    return candidates[0], len(candidates[0].hints), False


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
