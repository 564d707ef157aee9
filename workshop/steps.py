"""The manifest steps.toml, read once: every command, test and table asks here."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.paths import ROOT


@dataclass(frozen=True)
class Check:
    """What one check of a step is called, and its hints from a nudge to nearly there."""

    id: str
    title: str
    hints: list[str]
    step: int


@dataclass(frozen=True)
class Step:
    """One step; times in minutes, the line budget in lines added or removed."""

    number: int
    folder: str
    title: str
    technique: str
    removes: str
    minutes: int  # alone, or in a full day
    minutes_half_day: int
    changes: list[str]  # files that may differ from the step before
    line_budget: int
    tries: list[str]  # commands to try on the running step; {url} is its address
    checks: dict[str, Check] = field(repr=False)

    @property
    def path(self) -> Path:
        return ROOT / self.folder

    @property
    def port(self) -> int:
        return 8000 + self.number

    @property
    def before(self) -> "Step | None":
        return step(self.number - 1) if self.number > 1 else None


@cache
def steps() -> tuple[Step, ...]:
    """All steps, in their order."""
    manifest = tomllib.loads((ROOT / "steps.toml").read_text())
    return tuple(_step(entry) for entry in manifest["step"])


def step(number: int) -> Step:
    """The step with this number; raises WorkshopError when there is none."""
    for candidate in steps():
        if candidate.number == number:
            return candidate
    raise WorkshopError(f"There is no step {number}: choose N from 1 to {len(steps())}.")


def checks_up_to(number: int) -> list[Check]:
    """The checks of this step and of all steps before it."""
    return [check for s in steps()[:number] for check in s.checks.values()]


def _step(entry: dict) -> Step:
    checks = {
        id: Check(id, c["title"], c["hints"], entry["number"])
        for id, c in entry.pop("checks").items()
    }
    return Step(**entry, checks=checks)
