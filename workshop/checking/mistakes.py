"""The named mistakes: one patch each, with a header that says what, why and which checks fail."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import Step, step, steps

FOLDER = ROOT / "tests" / "mistakes"
HEADER = re.compile(r"^(Mistake|Why|Settings|Try|Look|Fails): ", re.MULTILINE)


@dataclass(frozen=True)
class Mistake:
    """One patch. `fails` names the checks that catch it, and no others do."""

    step: Step
    name: str
    mistake: str  # in a sentence
    why: str  # why people make it
    settings: dict[str, str]  # with which it is served, as environment variables
    attempt: str  # what to try while it is served, for a shell; {url} is its address
    look: str  # what to look for
    fails: frozenset[str]
    path: Path

    @property
    def transcript(self) -> Path:
        """The failures as a learner sees them, numbers masked."""
        return self.path.with_suffix(".txt")


def mistakes(number: int | None = None) -> list[Mistake]:
    """All mistakes, or those of one step, by name."""
    chosen = [step(number)] if number else steps()
    return [_read(s, path) for s in chosen for path in sorted((FOLDER / s.folder).glob("*.patch"))]


def mistake(number: int, name: str) -> Mistake:
    """The mistake of this step with this name; raises WorkshopError when there is none."""
    for candidate in mistakes(number):
        if candidate.name == name:
            return candidate
    raise WorkshopError(
        f"Step {number} has no mistake {name!r}: `make mistake {number}` lists them."
    )


def apply(mistake: Mistake, target: Path) -> Path:
    """Copy the mistake's step to `target` and put the mistake in; returns the folder."""
    shutil.copytree(mistake.step.path, target, ignore=shutil.ignore_patterns("__pycache__"))
    patch(target, mistake.path)
    return target


def patch(folder: Path, changes: Path) -> None:
    """Apply a patch to a folder; raises WorkshopError if it doesn't fit."""
    done = subprocess.run(
        ["git", "apply", "--unidiff-zero", str(changes)],
        cwd=folder,
        # Inside a checkout git would look for the paths below the checkout's root.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkshopError(f"{changes.name} does not apply: {done.stderr.strip()}")


def _read(step: Step, path: Path) -> Mistake:
    header = path.read_text().split("\ndiff --git ", 1)[0]
    parts = HEADER.split(header)
    fields = {
        key: " ".join(text.split()) for key, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return Mistake(
        step=step,
        name=path.stem,
        mistake=fields.get("Mistake", ""),
        why=fields.get("Why", ""),
        settings=dict(word.split("=", 1) for word in fields.get("Settings", "").split()),
        attempt=fields.get("Try", ""),
        look=fields.get("Look", ""),
        fails=frozenset(re.findall(r"\w+", fields.get("Fails", ""))),
        path=path,
    )
