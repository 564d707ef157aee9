"""What a learner does: begin a step, ask for a hint, compare, look at how far it went."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import click

from workshop.cli import number
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import ROOT, shown
from workshop.steps import Check, step, steps


@click.command()
@number
def start(number: int):
    """Lay your copy of a step into work/, from the step before."""
    _told(learner.start(step(number)), number)


@click.command()
@number
def reset(number: int):
    """Begin a step again; your old work is kept beside, dated."""
    old = learner.reset(step(number))
    if old:
        click.echo(f"Your work until now is kept in {shown(old)}/.")
    _told(learner.folder(step(number)), number)


def _told(folder: Path, number: int) -> None:
    click.echo(f"{shown(folder)}/ is yours. Read its TASK.md, edit, then `make check {number}`.")


@click.command()
@number
@click.option("--check", "check_id", envvar="CHECK", help="The check to ask about.")
def hint(number: int, check_id: str | None):
    """The next hint for the first check that fails."""
    chosen = step(number)
    if not progress.read().get(str(number), {}).get("checked"):
        click.echo(f"Nothing is checked yet: `make check {number}` finds what fails.")
    check, count, new = learner.next_hint(chosen, check_id)
    click.echo(hints(check, count))
    if not new:
        click.echo(f"There are no more: `make diff {number}` shows what changes in this step.")
    elif count < len(check.hints):
        click.echo(f"More: make hint {number}")


def hints(check: Check, count: int) -> str:
    """A check and the first `count` of its hints, the newest bright."""
    lines = [click.style(check.title, bold=True)]
    for index, text in enumerate(check.hints[:count], 1):
        said = textwrap.fill(text, 80, initial_indent=f"  {index}  ", subsequent_indent=" " * 5)
        lines.append(said if index == count else click.style(said, dim=True))
    return "\n".join(lines)


@click.command()
@number
def diff(number: int):
    """What changes from the step before to this one."""
    chosen = step(number)
    if chosen.before is None:
        raise WorkshopError("Step 1 has no step before it: read step01_basic/app.py.")
    compare(chosen.before.path, chosen.path)


@click.command()
@number
def solution(number: int):
    """The finished step beside your work; asks first while your checks fail."""
    chosen = step(number)
    mine = learner.folder(chosen)
    if not mine.is_dir():
        click.echo(f"The finished step is {chosen.folder}/. `make start {number}` begins yours.")
        return
    if not _deserved(number):
        click.echo(
            f"Checks of step {number} still fail. `make hint {number}` helps; ask for the "
            f"solution once more to see it all the same."
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
            return click.confirm("Checks still fail. Do you want to see the solution?")
        asked, kept["solution_asked"] = kept.get("solution_asked", False), True
        return asked


def compare(old: Path, new: Path) -> None:
    """Show how the code of two app folders differs, as git shows it; lessons and tasks do not."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colour = ["--color"] if coloured else []
    alike = True
    sys.stdout.flush()
    for name in sorted(learner.code(old) | learner.code(new)):
        sides = [
            shown(side / name) if (side / name).exists() else os.devnull for side in (old, new)
        ]
        command = ["git", "--no-pager", "diff", "--no-index", *colour, "--", *sides]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code > 1:
            raise WorkshopError("git could not compare the two folders: see its message above.")
        alike = alike and not code
    if alike:
        click.echo(f"The code in {shown(old)}/ and {shown(new)}/ is the same.")


@click.command("progress")
def progress_():
    """Your steps: checks passed, hints used, times."""
    kept = progress.read()
    click.echo(f"{'step':<22}{'checks':<11}{'hints':<7}{'runs':<6}{'minutes'}")
    for s in steps():
        click.echo(_progress_line(s, kept.get(str(s.number), {})))


def _progress_line(s, kept: dict) -> str:
    own = set(s.checks)
    passed = len(own & set(kept.get("passed", [])))
    if s.before is None:
        return f"  {s.folder:<20}to be read"
    mark = click.style("✓", fg="green") if passed == len(own) else " "
    checks = f"{passed} of {len(own)}"
    end = kept.get("finished", kept.get("checked"))
    minutes = f"{(end - kept['started']) / 60:.0f}" if end and "started" in kept else "-"
    hints, runs = kept.get("asked", 0), kept.get("runs", 0)
    return f"{mark} {s.folder:<20}{checks:<11}{hints:<7}{runs:<6}{minutes}"
