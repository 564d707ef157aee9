"""What a maintainer of the course runs."""

from collections.abc import Iterable
from dataclasses import astuple

import click


@click.command("dev-check")
def dev_check():
    """Say what a new step, check or mistake still lacks."""
    from workshop.checking.completeness import findings

    found = list(findings())
    for finding in found:
        click.secho(f"✗ {finding}", fg="red")
    click.echo(f"{len(found)} to do." if found else "Nothing is missing.")
    if found:
        raise SystemExit(1)


@click.command()
def prose():
    """Show how the texts read, in figures: sentences, readers addressed, code, diagrams."""
    from workshop.checking import prose

    def show(name: str, cells: Iterable[str]) -> None:
        columns = zip(prose.COLUMNS, cells, strict=True)
        click.echo(f"{name:<31}" + "".join(f"{cell:>{len(head) + 3}}" for head, cell in columns))

    show("", prose.COLUMNS)
    for path, text in prose.texts().items():
        figures = prose.measure(text)
        missed = prose.misses(figures, is_lesson=path.startswith("step"))
        pairs = zip(astuple(figures), missed, strict=True)
        show(path, (f"{value:.0f}" + "!" * miss for value, miss in pairs))
    show("goal", (f"{least}–{most}" if most else f"{least}+" for least, most in prose.GOALS))
    click.echo("\nA “!” misses the goal. Words are counted per 1,000; lessons need the blocks too.")
