"""The report of the checks, as learners see it."""

import sys
import textwrap
from collections.abc import Collection, Sequence

import click

from workshop.checking.outcome import Observer, Outcome
from workshop.paths import shown
from workshop.steps import Check, Step, steps
from workshop.steps import step as find_step
from workshop.target import Target

WIDTH = 80  # columns
INDENT = " " * 13
WHOLE = 6  # failures that are shown whole: more than that are rarely read


class Report(Observer):
    """Prints the outcomes in the order of `checks`, then the failures whole, then the counts.

    The checks run side by side and end in any order: an outcome is printed once all before it are.
    What failed last time (`failed`, by id) and the step's own checks take a line each, a step
    before takes one line with a mark for each check.
    """

    def __init__(
        self, step: Step, target: Target, checks: Sequence[Check], failed: Collection[str] = ()
    ):
        self.step, self.target, self.checks, self.failed = step, target, list(checks), failed
        self._found: dict[str, Outcome] = {}
        self._started: set[str] = set()
        self._printed = 0
        self._heading = ""
        self._line_is_open = False

    def begin(self) -> None:
        name = shown(self.target.folder) if self.target.folder else self.target.url
        click.echo(f"Checking {name} against step {self.step.number} ({len(self.checks)} checks)")

    def log(self, text: str) -> None:
        click.echo(f"{_back()}{text}")
        self._show_progress()

    def on_start(self, check: Check) -> None:
        self._started.add(check.id)
        self._show_progress()

    def on_result(self, outcome: Outcome) -> None:
        self._found[outcome.check.id] = outcome
        before = self._printed
        while self._printed < len(self.checks):
            next_one = self._found.get(self.checks[self._printed].id)
            if next_one is None:
                break
            self._print(next_one)
            self._printed += 1
        if self._printed > before:
            self._show_progress()

    def on_crash(self, outcome: Outcome) -> None:
        """Say so at once: the run still has to stop its servers."""
        self._end_line()
        click.echo("\n" + failure(outcome))

    def end(self, outcomes: Sequence[Outcome], advice: str = "") -> None:
        """Print what failed and the counts; `advice` says what to do next."""
        self._end_line()
        for (heading, why), group in _by_reason(outcomes).items():
            titles = f"{len(group)} checks" if len(group) > 1 else group[0].check.title
            click.echo(f"\n{heading}: {titles}\n{_line('because', why)}")
        failed = [outcome for outcome in outcomes if not outcome.passed and not outcome.crashed]
        core, production = _by_level(failed)
        if production and not core:
            text = f"The core of step {self.step.number} passes. This is left for production:"
            click.secho(f"\n{text}", bold=True)
        groups = alike(core or production)
        for group in groups[:WHOLE]:
            click.echo("\n" + failures(group))
        if rest := sum(map(len, groups[WHOLE:])):
            click.echo(f"\n… and {rest} more, marked ✗ above. Begin with the first.")
        if core and production:
            checks = (
                "1 production check"
                if len(production) == 1
                else f"{len(production)} production checks"
            )
            click.echo(f"\n… and {checks}, marked ✗ above. The core comes first.")
        click.echo(f"\n{advice}" if advice else "")
        click.echo(summary(outcomes, self.step))

    def _print(self, outcome: Outcome) -> None:
        check = outcome.check
        self._head(check)
        if self._takes_a_line(check):
            click.echo(f"{_back()}  {mark(outcome)} {check.title}")
        else:
            click.echo(mark(outcome), nl=False)
            self._line_is_open = True

    def _show_progress(self) -> None:
        """Say which check comes next, where the line can be taken back."""
        if self._printed == len(self.checks) or not sys.stdout.isatty():
            return
        check = self.checks[self._printed]
        if check.id in self._started and self._takes_a_line(check):
            self._head(check)
            click.echo(f"{_back()}  … {check.title}", nl=False)

    def _takes_a_line(self, check: Check) -> bool:
        return check.step == self.step.number or check.id in self.failed

    def _head(self, check: Check) -> None:
        heading = f"Step {check.step}: {find_step(check.step).title}"
        if check.id in self.failed:
            heading = "Failed last time"
        if self._takes_a_line(check) and check.level != "core":
            heading += ", for production"
        if heading == self._heading:
            return
        self._end_line()
        self._heading = heading
        click.echo(
            heading if self._takes_a_line(check) else f"{heading:<31}", nl=self._takes_a_line(check)
        )

    def _end_line(self) -> None:
        if self._line_is_open:
            click.echo()
        self._line_is_open = False


def _back() -> str:
    """Takes back the line of the check that runs, where the terminal shows one."""
    return "\r\033[K" if sys.stdout.isatty() else ""


def mark(outcome: Outcome) -> str:
    if outcome.not_applicable:
        return click.style("–", dim=True)
    if outcome.waits_for:
        return click.style("○", dim=True)
    if outcome.passed:
        return click.style("✓", fg="green")
    return click.style("✗", fg="red", bold=True)


def alike(failed: Sequence[Outcome]) -> list[list[Outcome]]:
    """The failures, those with the same message together."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in failed:
        groups.setdefault(outcome.message, []).append(outcome)
    return list(groups.values())


def failures(group: Sequence[Outcome]) -> str:
    """The first of a group of failures that are alike, whole, its id, and how many others fail."""
    lines = [failure(group[0]), _line("id", group[0].check.id)]
    if others := len(group) - 1:
        checks = "check fails" if others == 1 else "checks fail"
        lines.append(_line("also", f"{others} more {checks} in the same way"))
    return "\n".join(lines)


def failure(outcome: Outcome) -> str:
    """One failed check: its title, what was done, what came back, what was expected, a hint."""
    title = "The app doesn't start" if outcome.crashed else outcome.check.title
    title = click.style(f"✗ {title}", fg="red", bold=True)
    if not outcome.by_assertion:
        return f"{title}\n{_line('broke', 'the check itself: ' + outcome.message)}"
    parts = [line.split(": ", 1) for line in outcome.message.splitlines()]
    lines = [_line(part[0], part[1] if len(part) > 1 else "") for part in parts]
    if outcome.trace:
        lines.append(f"  {'error':<11}{outcome.trace[0]}")
        lines += [f"{INDENT}{line}"[:WIDTH] for line in outcome.trace[1:-1]]
        lines.append(_line("", outcome.trace[-1]))
    if not outcome.crashed:
        lines.append(_line("hint", outcome.check.hints_about(outcome.hint)[0]))
    return "\n".join([title, *lines])


def summary(outcomes: Sequence[Outcome], step: Step) -> str:
    """One line of counts: "38 passed, 3 failed (step 2: core 4 of 4, production 9 of 12)"."""
    if any(outcome.crashed for outcome in outcomes):
        ran = sum(not outcome.crashed for outcome in outcomes)
        text = f"The app doesn't start: {ran} of {len(outcomes)} checks ran"
        return click.style(text, fg="red", bold=True)
    failed = sum(not outcome.passed for outcome in outcomes)
    aside = sum(bool(outcome.not_applicable) for outcome in outcomes)
    later = sum(bool(outcome.waits_for) for outcome in outcomes)
    text = f"{sum(outcome.counts_as_passed for outcome in outcomes)} passed, {failed} failed"
    text += f", {later} not reached yet" if later else ""
    text += f", {aside} not applicable" if aside else ""
    own = [outcome for outcome in outcomes if outcome.check.step == step.number]
    core, production = map(_count, _by_level(own))
    if own:
        text += f" (step {step.number}: core {core}, production {production})"
    return click.style(text, fg="red" if failed else "green", bold=True)


def _by_level(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes of core checks, and those of production checks."""
    core = [outcome for outcome in outcomes if outcome.check.level == "core"]
    return core, [outcome for outcome in outcomes if outcome.check.level != "core"]


def _count(outcomes: Sequence[Outcome]) -> str:
    return f"{sum(outcome.counts_as_passed for outcome in outcomes)} of {len(outcomes)}"


def next_command(step: Step, outcomes: Sequence[Outcome]) -> str:
    """What learners can do next, after a whole run of the checks on their own work."""
    number = step.number
    failed = [outcome.check for outcome in outcomes if not outcome.passed]
    hint = f"make hint {number}"
    if core := [check for check in failed if check.level == "core"]:
        another = f"\nFor another check: {hint} CHECK={core[1].id}" if core[1:] else ""
        return f"The next hint: {hint}{another}"
    following = f"Next: make start {number + 1}" if number < len(steps()) else ""
    if failed:
        text = f"The core passes, so you may go on. A hint for the rest: {hint}\n{following}"
    else:
        ours = f"Compare with ours: make solution {number}.  " if step.before else ""
        text = f"{ours}{following or 'This was the last step: congratulations.'}"
    return text.strip()


def _by_reason(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """The outcomes that neither passed nor failed, by what they are called and why."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.not_applicable:
            groups.setdefault(("Not applicable", outcome.not_applicable), []).append(outcome)
        elif outcome.waits_for:
            why = f"a pass says nothing as long as this fails: {outcome.waits_for.title}"
            groups.setdefault(("Not reached yet", why), []).append(outcome)
    return groups


def _line(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<11}",
        subsequent_indent=INDENT,
        break_on_hyphens=False,
    )
