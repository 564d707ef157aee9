"""What a learner does between the steps."""

import subprocess

import click

from workshop.commands import number
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import step


@click.command()
@number
def diff(number: int):
    """What changes from the step before to this one."""
    chosen = step(number)
    if chosen.before is None:
        raise WorkshopError("Step 1 has no step before it: read step01_basic/app.py.")
    colour = ["--color"] if click.get_text_stream("stdout").isatty() else []
    done = subprocess.run(  # noqa: S603
        ["git", "diff", "--no-index", *colour, "--", chosen.before.folder, chosen.folder],  # noqa: S607
        cwd=ROOT,
        check=False,
    )
    if done.returncode > 1:
        raise WorkshopError("git could not compare the two folders: see its message above.")
