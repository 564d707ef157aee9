"""The report of the checks, as learners see it."""

import textwrap

import click

from workshop.checking import Outcome
from workshop.paths import ROOT
from workshop.steps import Step, checks_up_to

WIDTH = 80  # columns


class Report:
    """Prints each outcome as it comes, then the failures whole, then one line of counts."""

    def __init__(self, step: Step, folder):
        self.step, self.folder = step, folder
        self.done, self.total = 0, len(checks_up_to(step.number))

    def begin(self) -> None:
        name = self.folder.relative_to(ROOT) if self.folder.is_relative_to(ROOT) else self.folder
        click.echo(f"Checking {name} against step {self.step.number} ({self.total} checks)")

    def outcome(self, outcome: Outcome) -> None:
        self.done += 1
        if outcome.passed:
            mark = click.style("✓", fg="green")
        else:
            mark = click.style("✗", fg="red", bold=True)
        click.echo(f"{mark} {outcome.check.step}  {outcome.check.title}")

    def end(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if not outcome.passed:
                click.echo("\n" + failure(outcome))
        click.echo("\n" + summary(outcomes))


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
    wrapped = textwrap.fill(text, WIDTH, initial_indent=f"  {label:<11}", subsequent_indent=indent)
    return wrapped
