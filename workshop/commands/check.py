"""Check an app, and tell a learner what is missing."""

from pathlib import Path

import click

from workshop import checking
from workshop.commands import number
from workshop.errors import WorkshopError
from workshop.report import Report
from workshop.steps import step


@click.command()
@number
@click.option("--app", envvar="APP", help="The folder to check.")
@click.option("--report", envvar="REPORT", help="Also write the outcomes as JUnit XML.")
def check(number: int, app: str | None, report: str | None):
    """Run the checks of a step and of those before it."""
    chosen = step(number)
    folder = Path(app).resolve() if app else chosen.path
    if not (folder / "app.py").is_file():
        raise WorkshopError(f"There is no app.py in {folder}: set APP to the folder of your app.")
    shown = Report(chosen, folder)
    shown.begin()
    junit = Path(report).resolve() if report else None
    outcomes = checking.run(number, folder, tell=shown.outcome, junit=junit)
    shown.end(outcomes)
    if not all(outcome.passed for outcome in outcomes):
        raise SystemExit(1)
