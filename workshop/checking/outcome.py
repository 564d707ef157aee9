"""What a check says of an app, and who hears it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from workshop.steps import Check


@dataclass
class Outcome:
    """What one check said.

    `message` is the first failure, in lines: did, got, expected. `trace` holds the last lines of
    the app's own traceback, where it printed one. `crashed` means that the app didn't start, so
    that the check never ran. `hint` names the entry of the check's `hint_for` that fits.

    Two kinds of outcome count as neither passed nor failed, and have `passed` all the same:
    `not_applicable` says why the check doesn't apply to the target; `waits_for` is the failed check
    without which a pass says nothing, so that this one isn't reached yet.
    """

    check: Check
    passed: bool
    message: str = ""
    by_assertion: bool = True  # False: the check itself broke
    seconds: float = 0.0
    trace: list[str] = field(default_factory=list)
    crashed: bool = False
    not_applicable: str = ""
    hint: str = ""
    waits_for: Check | None = None

    @property
    def counts_as_passed(self) -> bool:
        return self.passed and not self.not_applicable and not self.waits_for


def ids(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str], dict[str, str]]:
    """The ids of the checks that passed, of those that failed, and which hint fits a failure."""
    failed = [o for o in outcomes if not o.passed]
    reasons = {o.check.id: o.hint for o in failed if o.hint}
    return (
        [o.check.id for o in outcomes if o.counts_as_passed],
        [o.check.id for o in failed],
        reasons,
    )


NAMED = 240  # characters; names beyond them are only counted


def with_other_cases(message: str, others: Sequence[str]) -> str:
    """The message of a check's first case that failed, with the names of the others that did."""
    if not others:
        return message
    lengths = accumulate(len(name) + 2 for name in others)
    named = [name for name, length in zip(others, lengths, strict=True) if length <= NAMED]
    rest = f" and {len(others) - len(named)} more" if len(named) < len(others) else ""
    cases = f"{len(others)} more case{'s' if len(others) > 1 else ''}"
    return f"{message}\nalso: {cases}: {', '.join(named) or others[0][:NAMED]}{rest}"


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
