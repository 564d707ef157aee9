"""What a check says of an app, and who hears it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workshop.steps import Check


@dataclass
class Outcome:
    """What one check said.

    `message` is the first failure, in lines: did, got, expected. `trace` holds the last lines of
    the app's own traceback, where it printed one. `crashed` means that the app didn't start, so
    that the check never ran. `not_applicable` says why the check doesn't apply to the target, which
    counts as neither passed nor failed; `passed` is then true.
    """

    check: Check
    passed: bool
    message: str = ""
    by_assertion: bool = True  # False: the check itself broke
    seconds: float = 0.0
    trace: list[str] = field(default_factory=list)
    crashed: bool = False
    not_applicable: str = ""


def ids(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """The ids of the checks that passed, and of those that failed."""
    passed = [o.check.id for o in outcomes if o.passed and not o.not_applicable]
    return passed, [o.check.id for o in outcomes if not o.passed]


class Observer:
    """Hears how a run of the checks goes; a subclass says what to do about what it hears."""

    def log(self, text: str) -> None:
        """What is made ready before the checks can run."""

    def on_start(self, check: Check) -> None:
        """The check begins; others may be under way."""

    def on_result(self, outcome: Outcome) -> None:
        """The check ended; checks that run side by side end in any order."""

    def on_warning(self, text: str) -> None:
        """What else there is to say of the app: it was stopped, or left processes behind."""

    def on_crash(self, outcome: Outcome) -> None:
        """The app doesn't start; all checks that had not run yet fail with this outcome."""
