"""What an instructor does."""

import click


@click.command()
def timetable():
    """Renew the timetables of docs/instructor.md from steps.toml."""
    from workshop.learning.timetable import GUIDE, renewed

    GUIDE.write_text(renewed(GUIDE.read_text()))
    click.echo(f"The timetables in docs/{GUIDE.name} are those of steps.toml.")
