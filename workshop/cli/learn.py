"""What a learner does: begin a step, ask for a hint, compare, look at how far it went."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from subprocess import PIPE
from typing import Any

import click

from workshop.cli import number
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import ROOT, shown
from workshop.steps import Check, Step, step, steps


@click.command()
@number
def start(number: int) -> None:
    """Make your copy of a step in work/, from the step before."""
    _announce(learner.start(step(number)), number)


@click.command()
@number
def reset(number: int) -> None:
    """Start a step again; your old work stays in work/, under a dated name."""
    old = learner.reset(step(number))
    if old:
        click.echo(f"Your old work is in {shown(old)}/.")
    _announce(learner.folder(step(number)), number)


def _announce(folder: Path, number: int) -> None:
    click.echo(f"{shown(folder)}/ is yours. Read its TASK.md, edit, then run: make check {number}")


@click.command()
@number
@click.option("--check", "check_id", envvar="CHECK", help="The check to ask about.")
def hint(number: int, check_id: str | None) -> None:
    """The next hint for the first failed check, or for CHECK=id."""
    chosen = step(number)
    try:
        check, count, new = learner.next_hint(chosen, check_id)
    except learner.NothingFailedError as nothing:
        click.echo(str(nothing))
        return
    if not check_id and "checked" not in progress.read()[str(number)]:
        click.echo(f"You haven't run `make check {number}` yet, so this hint is for the start.")
    click.echo(hints(check, count))
    if not new:
        changes = f" See what our step changes: make diff {number}" if chosen.before else ""
        click.echo(f"That was the last hint.{changes}")
    elif count < len(check.hints):
        same = f" CHECK={check.id}" if check_id else ""
        click.echo(f"More: make hint {number}{same}")


def hints(check: Check, count: int) -> str:
    """A check and the first `count` of its hints, the newest bright."""
    lines = [f"{click.style(check.title, bold=True)} ({check.id})"]
    for index, text in enumerate(check.hints[:count], 1):
        line = textwrap.fill(text, 80, initial_indent=f"  {index}  ", subsequent_indent=" " * 5)
        lines.append(line if index == count else click.style(line, dim=True))
    return "\n".join(lines)


@click.command()
@number
def diff(number: int) -> None:
    """What changes from the step before to this one."""
    chosen = step(number)
    if chosen.before is None:
        raise WorkshopError("Step 1 has no step before it: read step01_basic/app.py.")
    compare(chosen.before.path, chosen.path)


@click.command()
@number
def solution(number: int) -> None:
    """Compare your work with the finished step; asks first while your checks fail."""
    chosen = step(number)
    mine = learner.folder(chosen)
    if not mine.is_dir():
        yours = number if chosen.before else number + 1
        click.echo(f"The finished step is {chosen.folder}/. Next: make start {yours}")
        return
    if not _deserved(number):
        click.echo(
            f"The core of step {number} doesn't pass yet: `make hint {number}` helps. To see the "
            f"solution all the same, run `make solution {number}` once more."
        )
        raise SystemExit(1)
    click.echo(f"From your work (-) to {chosen.folder} (+). Nothing of yours is changed.")
    compare(mine, chosen.path)


def _deserved(number: int) -> bool:
    """Whether the checks passed, or the learner says yes, or asked before."""
    with progress.of_step(number) as kept:
        if "finished" in kept:
            return True
        if sys.stdin.isatty():
            return click.confirm("The core doesn't pass yet. Do you want to see the solution?")
        asked, kept["solution_asked"] = kept.get("solution_asked", False), True
        return asked


def compare(old: Path, new: Path, paged: bool = False) -> None:
    """Show how the code of two app folders differs, as git shows it; lessons and tasks do not.

    `paged` shows it a screen at a time.
    """
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colour = ["--color"] if coloured else []
    alike, pages = True, list[str]()
    sys.stdout.flush()
    for name in sorted(learner.code(old) | learner.code(new)):
        sides = [
            shown(side / name) if (side / name).exists() else os.devnull for side in (old, new)
        ]
        command = ["git", "--no-pager", "diff", "--no-index", *colour, "--", *sides]
        done = subprocess.run(
            command, cwd=ROOT, stdout=PIPE if paged else None, text=True, check=False
        )
        if done.returncode > 1:
            raise WorkshopError("git could not compare the two folders: see its message above.")
        alike = alike and not done.returncode
        pages.append(done.stdout or "")
    if paged and not alike:
        click.echo_via_pager(pages, color=coloured)
    if alike:
        click.echo(f"The code in {shown(old)}/ and {shown(new)}/ is the same.")


@click.command("progress")
def progress_() -> None:
    """Your steps: core and other checks passed, hints used, times."""
    kept = progress.read()
    heads = ("step", "core", "production", "hints", "runs")
    click.echo("  {:<20}{:<11}{:<13}{:<7}{:<6}minutes".format(*heads))
    for s in steps():
        click.echo(_progress_line(s, kept.get(str(s.number), {})))
    # A learner may begin with any step: the next one is the last begun, or else the one after it.
    begun = max((s.number for s in steps() if str(s.number) in kept), default=1)
    later = [s for s in steps() if s.number >= begun]
    if left := [s for s in later if "finished" not in kept.get(str(s.number), {})]:
        click.echo(f"\nNext: {_next(left[0])}")


def _next(step: Step) -> str:
    """The command that goes on with a step that isn't finished; step 1 is read, not built."""
    if step.before and not learner.folder(step).is_dir():
        return f"make start {step.number}"
    return f"make check {step.number}"


def _progress_line(step: Step, kept: dict[str, Any]) -> str:
    mark = click.style("✓", fg="green") if "finished" in kept else " "
    passed = kept.get("passed", [])
    core, production = (_count(step, level, passed) for level in ("core", "production"))
    end = kept.get("finished", kept.get("checked"))
    minutes = f"{(end - kept['started']) / 60:.0f}" if end and "started" in kept else "-"
    hints, runs = kept.get("asked", 0), kept.get("runs", 0)
    return f"{mark} {step.folder:<20}{core:<11}{production:<13}{hints:<7}{runs:<6}{minutes}"


def _count(step: Step, level: str, passed: list[str]) -> str:
    checks = [check.id for check in step.checks.values() if check.level == level]
    return f"{len(set(checks) & set(passed))} of {len(checks)}"
