"""A progress bar that is there on a terminal, and is not where a bar would only litter."""

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(title: str, shown: bool = True, console: Console | None = None):
    """Yields `moved(fraction, text)`. On stderr, gone when done; nothing off a terminal."""
    console = console or Console(stderr=True)
    if not shown or not console.is_terminal or console.is_jupyter:
        yield lambda fraction, text="": None
        return
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()]
    columns.append(TextColumn("{task.fields[note]}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0, note="")
        yield lambda fraction, text="": progress.update(task, completed=fraction, note=text)
