"""The manifest of the steps, read once: every command, test and table asks here.

`steps.toml` holds the facts of each step; what its checks are called, their levels and their hints
stand beside the checks, in `tests/checks/stepNN.toml`.
"""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from workshop.errors import WorkshopError
from workshop.paths import ROOT

CHECKS = ROOT / "tests" / "checks"


@dataclass(frozen=True)
class Check:
    """What one check of a step is called, and its hints from a nudge to nearly there.

    `level` is "core" (the technique itself) or "production" (what an outage, a race, an attacker or
    a busy night finds). `needs` has the ids of core checks of the same step without which a pass of
    this one says nothing. `hint_for` has a first hint for each expectation that asks for its own.
    """

    id: str
    title: str
    level: str
    hints: list[str]
    step: int
    needs: list[str] = field(default_factory=list)
    hint_for: dict[str, str] = field(default_factory=dict)

    def hints_about(self, reason: str) -> list[str]:
        """The hints for a failure; `reason` names its entry in `hint_for`, if it has one."""
        return [self.hint_for.get(reason, self.hints[0]), *self.hints[1:]]


@dataclass(frozen=True)
class Step:
    """One step; times in minutes."""

    number: int
    folder: str
    title: str
    technique: str
    removes: str
    minutes: int  # reading and the core, alone or in a full day
    minutes_half_day: int
    changes: list[str]  # files that may differ from the step before
    tries: list[str]  # commands to try on the running step; {url} is its address
    checks: dict[str, Check] = field(repr=False)
    optional: list[str] = field(default_factory=list)  # changed files that learners need not write
    given: list[str] = field(default_factory=list)  # changed files that learners get ready-made
    minutes_production: int = 0  # more, for the production checks
    is_concurrent: bool = False  # serves more than one request at once
    has_pool: bool = False
    has_cache: bool = False  # of the report, in Redis
    has_login: bool = False

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
    number = entry["number"]
    file = CHECKS / f"step{number:02}.toml"
    if not file.exists():
        raise WorkshopError(f"{file.relative_to(ROOT)} is missing: it describes the step's checks.")
    described = tomllib.loads(file.read_text())
    return Step(**entry, checks={id: Check(id, step=number, **c) for id, c in described.items()})
