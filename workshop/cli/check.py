"""Check an app, once or on every save, and show the named mistakes."""

import os
import shutil
from pathlib import Path

import click

from workshop.checking import junit, runner
from workshop.checking import mistakes as known
from workshop.checking.outcome import Outcome, ids
from workshop.checking.report import Report, next_command
from workshop.cli import number
from workshop.cli.learn import compare, hints
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import STATE, shown
from workshop.steps import Step, step, steps
from workshop.target import Target


@click.command()
@number
@click.option("--app", envvar="APP", help="The folder to check.")
@click.option("--url", envvar="URL", help="Check what runs at this address.")
@click.option("--mistake", "name", envvar="M", help="Check the step with this mistake in it.")
@click.option("--report", envvar="REPORT", help="Also write the outcomes as JUnit XML.")
@click.option(
    "--level",
    envvar="LEVEL",
    type=click.Choice(["core", "production"]),
    default="core",
    help="What must pass: the core of the steps, or all.",
)
def check(
    number: int, app: str | None, url: str | None, name: str | None, report: str | None, level: str
) -> None:
    """Run the checks of a step and of those before it."""
    chosen = step(number)
    target = _target(chosen, app, url, name)
    mine = target.folder is not None and learner.is_own(chosen, target.folder)
    failed = progress.read().get(str(number), {}).get("failed", []) if mine else []
    checks = runner.in_order(number, failed)
    shown = Report(chosen, target, checks, failed)
    shown.begin()
    outcomes = runner.run(number, target, checks, shown)
    started = not any(outcome.crashed for outcome in outcomes)
    if mine and started:
        progress.record(number, *ids(outcomes))
    if report:
        junit.write(outcomes, Path(report).resolve())
    red = [outcome for outcome in outcomes if not outcome.passed]
    red_core = [outcome for outcome in red if outcome.check.level == "core"]
    shown.end(outcomes, _advice(chosen, target, mine and started, outcomes))
    if red_core or (red and level == "production"):
        raise SystemExit(1)


def _target(chosen: Step, app: str | None, url: str | None, name: str | None) -> Target:
    if url:
        return Target.at(url)
    folder = lay(known.mistake(chosen.number, name)) if name else learner.app_of(chosen, app)
    return Target.of(folder)


def _advice(chosen: Step, target: Target, mine: bool, outcomes: list[Outcome]) -> str:
    if mine:
        return next_command(chosen, outcomes)
    if target.folder == chosen.path:
        return f"You checked our finished step. Build your own: make start {chosen.number}"
    return ""


@click.command()
@number
@click.option("--app", envvar="APP", help="The folder to watch.")
def watch(number: int, app: str | None) -> None:
    """Check again on every save."""
    from workshop.checking.watch import Watch

    chosen = step(number)
    folder = learner.app_of(chosen, app)

    def hint(failed: list[str]) -> None:
        try:
            found, count, new = learner.next_hint(chosen, *failed[:1])
        except WorkshopError as error:
            return click.echo(f"\n{error}")
        click.echo(f"\n{hints(found, count)}" + ("" if new else "\nThat was the last hint."))

    def diff(failed: list[str]) -> None:
        compare(folder, chosen.path, paged=True)

    Watch(chosen, folder, {"h": hint, "d": diff}).run()


@click.command()
@number
@click.option("--name", envvar="M", help="The mistake to serve.")
def mistake(number: int, name: str | None) -> None:
    """List the mistakes of a step; with a name, serve the step with that mistake in it."""
    from workshop.cli.serve import serve
    from workshop.services import shared

    chosen = step(number)
    if not name:
        return _list(number)
    made = known.mistake(number, name)
    folder = lay(made)
    services = shared()
    services.start(log=click.echo)
    click.secho(f"\n{click.wrap_text(made.mistake, 80)}", bold=True)
    click.echo(click.wrap_text(made.why, 80))
    if made.settings:
        click.echo("Served with " + " ".join("=".join(pair) for pair in made.settings.items()))
    after = (
        click.wrap_text(f"Look: {made.look}", 80, "", " " * 6),
        f"See which checks catch it: make check {number} M={name}",
        f"Read it: tests/mistakes/{chosen.folder}/{name}.patch",
    )
    serve(chosen, folder, services.environment() | made.settings, [made.attempt], after)


def _list(number: int) -> None:
    listed = known.mistakes(number)
    if not listed:
        raise WorkshopError(f"Step {number} has no mistakes in tests/mistakes/.")
    for made in listed:
        click.secho(made.name, bold=True)
        click.echo(click.wrap_text(made.mistake, 78, "  ", "  "))
    click.echo(f"\nServe one of them: make mistake {number} M={listed[0].name}")


def lay(mistake: known.Mistake) -> Path:
    """Copy the step with the mistake in it to .workshop/mistakes/; returns the folder."""
    folder = STATE / "mistakes" / f"{mistake.step.folder}-{mistake.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return known.apply(mistake, folder)


@click.command()
@number
@click.option("--dir", "folder", envvar="DIR", help="The folder of submissions.")
def mark(number: int, folder: str | None) -> None:
    """Check many learners' work side by side, and write one table."""
    from workshop.checking import marking

    if not folder:
        raise WorkshopError(f"Name the folder of submissions: make mark {number} DIR=folder")
    chosen = step(number)

    def show(done: marking.Mark) -> None:
        sign = "✓" if done.verdict == "pass" else click.style("✗", fg="red")
        name, verdict, core, production, seconds, _, notes = done.row()
        counts = f"core {core}, production {production}"
        click.echo(f"{sign} {name:<24} {verdict:<11} {counts:<36} {seconds:>4} s  {notes}")

    marks = marking.mark(chosen, Path(folder), show)
    table, page = marking.write(marks, chosen)
    click.echo(f"\n{sum(m.verdict == 'pass' for m in marks)} of {len(marks)} pass the core.")
    click.echo(f"{shown(table)}\n{shown(page)}")
    if missing := [m.name for m in marks if not m.ran]:
        raise WorkshopError(f"Not checked: {', '.join(missing)}. Their notes say why.")


@click.command("test-flakiness")
@click.option("--step", "number", envvar="N", type=int, default=len(steps()), help="The step.")
@click.option("--rounds", envvar="ROUNDS", type=int, default=20, help="How often.")
def test_flakiness(number: int, rounds: int):
    """Run a step's checks many times with all cores busy."""
    from workshop.checking import flakiness

    def tell(done: int, failed: list[str]) -> None:
        click.echo(f"round {done} of {rounds}: {', '.join(failed) or 'all pass'}")

    failures = flakiness.runs(step(number), rounds, tell)
    click.echo(f"{rounds} rounds, {sum(failures.values())} failures")
    if failures:
        raise SystemExit(1)


@click.command()
@number
@click.option("--seed", envvar="SEED", type=int, default=1, help="Another draw.")
@click.option("--count", envvar="COUNT", type=int, default=120, help="How many are drawn.")
@click.option("--jobs", envvar="JOBS", type=int, default=os.cpu_count() or 1, help="Side by side.")
def mutants(number: int, seed: int, count: int, jobs: int):
    """Change a finished step at random places, and show which changes no check notices."""
    from workshop.checking import mutants as campaign

    chosen = step(number)
    drawn = campaign.draw(campaign.sources(chosen), seed, count)
    record = campaign.Record(chosen)
    done = sum(record.result(mutant) is not None for mutant in drawn)
    click.echo(f"{chosen.folder}: {len(drawn)} mutants, {done} of them checked before")

    def on_result(result: campaign.Result) -> None:
        nonlocal done
        done += 1
        click.echo(f"[{done}/{len(drawn)}] {result.seconds:>4.0f} s  {result.verdict}")
        click.echo(f"    {str(result.mutant)[:150]}")

    results = campaign.run(chosen, drawn, record, jobs, on_result, click.echo)
    if _show_survivors(results, campaign.explained()):
        raise SystemExit(1)


def _show_survivors(results, explained: dict) -> int:
    """Print the mutants that no check caught, then the counts; how many are unexplained."""
    survivors = [result.mutant for result in results if result.survived]
    known = [mutant for mutant in survivors if mutant.key in explained]
    unexplained = [mutant for mutant in survivors if mutant.key not in explained]
    for mutant in known:
        click.echo(f"\nknown: {explained[mutant.key]}\n    {mutant}")
    for mutant in unexplained:
        click.echo("\n" + click.style(f"survives: {mutant}", bold=True) + f"\n{mutant.diff()}")
    caught = sum(result.caught_by is not None for result in results)
    unclear = sum(bool(result.problem) for result in results)
    click.echo(
        f"\n{caught} caught, {len(unexplained)} survive, {len(known)} known to change nothing, "
        f"{unclear} could not be checked\nMore of this draw: COUNT=240. Another draw: SEED=2."
    )
    return len(unexplained)
