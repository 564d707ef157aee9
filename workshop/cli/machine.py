"""Look after the machine: is it fit, and can it install without a network?"""

from pathlib import Path

import click


@click.command()
def doctor():
    """Is this machine fit for the workshop? Paste what it prints when you ask for help."""
    from workshop.setup import doctor

    unwell = 0
    for finding in doctor.examine():
        mark = click.style("!", fg="yellow") if finding.advice else click.style("✓", fg="green")
        click.echo(f"{mark} {finding.name:<10}{click.wrap_text(finding.found, 68, '', ' ' * 12)}")
        if finding.advice:
            unwell += 1
            click.echo(" " * 12 + f"→ {finding.advice}")
    click.echo(f"{unwell} to look at." if unwell else "All is well.")


@click.command()
@click.option(
    "--folder", envvar="WHEELHOUSE", default="wheelhouse", help="Where to put the wheels."
)
@click.option("--this", envvar="THIS", is_flag=True, help="For this machine alone.")
@click.option("--groups", envvar="WHEELHOUSE_GROUPS", default="", help="Which; all unless given.")
def wheelhouse(folder: str, this: bool, groups: str):
    """Collect every wheel of the class's platforms, for an install without a network."""
    from workshop.setup.wheelhouse import collect, locked

    collect(Path(folder), locked(*groups.split()), this_machine=this, say=click.echo)
