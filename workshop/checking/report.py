"""The report of the checks, as learners see it."""

import sys
import textwrap
from pathlib import Path

import click

from workshop.checking.runner import Outcome
from workshop.paths import shown
from workshop.steps import Check, Step, checks_up_to
from workshop.steps import step as find_step

WIDTH = 80  # columns
WHOLE = 6  # failures that are told whole: more than that are rarely read


class Report:
    """Prints each outcome as it comes, then the failures whole, then one line of counts.

    A step before the one that is checked takes a line, with a mark for each check; the step's own
    checks take a line each.
    """

    def __init__(self, step: Step, folder: Path):
        self.step, self.folder = step, folder
        self.total = len(checks_up_to(step.number))
        self.current = 0  # the step of the outcome that came last

    def begin(self) -> None:
        name = shown(self.folder)
        click.echo(f"Checking {name} against step {self.step.number} ({self.total} checks)")

    def begins(self, check: Check) -> None:
        """Say which check runs now, where the line can be taken back."""
        if check.step == self.step.number and sys.stdout.isatty():
            self._head(check)
            click.echo(f"  … {check.title}", nl=False)

    def outcome(self, outcome: Outcome) -> None:
        check = outcome.check
        self._head(check)
        if check.step == self.step.number:
            back = "\r\033[K" if sys.stdout.isatty() else ""
            click.echo(f"{back}  {mark(outcome)} {check.title}")
        else:
            click.echo(mark(outcome), nl=False)

    def end(self, outcomes: list[Outcome], advice: str = "") -> None:
        """`advice` says what to do next."""
        self._end_line()
        failed = [outcome for outcome in outcomes if not outcome.passed]
        for group in alike(failed)[:WHOLE]:
            click.echo("\n" + failures(group))
        if rest := sum(map(len, alike(failed)[WHOLE:])):
            click.echo(f"\n… and {rest} more, marked ✗ above. Begin with the first.")
        click.echo(f"\n{advice}" if advice else "")
        click.echo(summary(outcomes))

    def _head(self, check: Check) -> None:
        if check.step == self.current:
            return
        self._end_line()
        self.current = check.step
        heading = f"Step {check.step}: {find_step(check.step).title}"
        if check.step == self.step.number:
            click.echo(heading)
        else:
            click.echo(f"{heading:<31}", nl=False)

    def _end_line(self) -> None:
        if self.current and self.current != self.step.number:
            click.echo()


def mark(outcome: Outcome) -> str:
    if outcome.passed:
        return click.style("✓", fg="green")
    return click.style("✗", fg="red", bold=True)


def alike(failed: list[Outcome]) -> list[list[Outcome]]:
    """The failures, those with the same message together: an app that does not start fails all."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in failed:
        groups.setdefault(outcome.message, []).append(outcome)
    return list(groups.values())


def failures(group: list[Outcome]) -> str:
    """The first of a group of failures that are alike, whole, and how many others there are."""
    others = len(group) - 1
    if not others:
        return failure(group[0])
    checks = "check fails" if others == 1 else "checks fail"
    return failure(group[0]) + f"\n{_line('also', f'{others} more {checks} in the same way')}"


def failure(outcome: Outcome) -> str:
    """One failed check: its title, what was done, what came back, what was expected, a hint."""
    title = click.style(f"✗ {outcome.check.title}", fg="red", bold=True)
    if not outcome.by_assertion:
        return f"{title}\n{_line('broke', 'the check itself: ' + outcome.message)}"
    parts = [line.split(": ", 1) for line in outcome.message.splitlines()]
    lines = [_line(part[0], part[1] if len(part) > 1 else "") for part in parts]
    return "\n".join([title, *lines, _line("hint", outcome.check.hints[0])])


def summary(outcomes: list[Outcome]) -> str:
    """One line of counts: "21 passed, 0 failed"."""
    failed = sum(not outcome.passed for outcome in outcomes)
    text = f"{len(outcomes) - failed} passed, {failed} failed"
    return click.style(text, fg="red" if failed else "green", bold=True)


def _line(label: str, text: str) -> str:
    indent = " " * 13
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<11}",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
