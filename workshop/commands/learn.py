"""What a learner does: begin a step, ask for a hint, compare, look at how far it went."""

import subprocess
import sys
from pathlib import Path

import click

from workshop import learner, progress
from workshop.commands import number
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import step, steps


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
        click.echo(f"Your work until now is kept in {old.relative_to(ROOT)}.")
    _told(learner.folder(step(number)), number)


def _told(folder: Path, number: int) -> None:
    shown = folder.relative_to(ROOT)
    click.echo(f"{shown} is yours. Read {shown}/TASK.md, then edit and `make check {number}`.")


@click.command()
@number
@click.option("--check", "check_id", envvar="CHECK", help="The check to ask about.")
def hint(number: int, check_id: str | None):
    """The next hint for the first check that fails."""
    check, index = learner.next_hint(step(number), check_id)
    click.secho(check.title, bold=True)
    click.echo(f"Hint {index + 1} of {len(check.hints)}: {check.hints[index]}")


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
        if kept.get("checked") and not kept.get("failed"):
            return True
        if sys.stdin.isatty():
            return click.confirm("Checks still fail. Do you want to see the solution?")
        asked, kept["solution_asked"] = kept.get("solution_asked", False), True
        return asked


def compare(old: Path, new: Path) -> None:
    """Show the difference between two folders, as git shows it."""
    colour = ["--color"] if sys.stdout.isatty() else []
    names = [path.relative_to(ROOT) if path.is_relative_to(ROOT) else path for path in (old, new)]
    command = ["git", "--no-pager", "diff", "--no-index", *colour, "--", *map(str, names)]
    sys.stdout.flush()
    if subprocess.run(command, cwd=ROOT, check=False).returncode > 1:
        raise WorkshopError("git could not compare the two folders: see its message above.")


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
    mark = click.style("✓", fg="green") if passed == len(own) and own else " "
    checks = f"{passed} of {len(own)}"
    hints = sum(kept.get("hints", {}).values())
    minutes = "-"
    if "started" in kept and "checked" in kept:
        minutes = f"{(kept.get('finished', kept['checked']) - kept['started']) / 60:.0f}"
    return f"{mark} {s.folder:<20}{checks:<11}{hints:<7}{kept.get('runs', 0):<6}{minutes}"
