"""What `make bench` shows while it runs: a table for each part, with a progress bar below."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

WHOLE_RUN = 3600  # seconds: the time left follows from the speed of all loads so far


class ProgressDisplay:
    """Counts loads: `loads` are expected in all."""

    def __init__(self, loads: int = 0):
        self.console = Console()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self.console,
            transient=True,
            speed_estimate_period=WHOLE_RUN,
        )
        self.task = self.progress.add_task("bench", total=loads, note="")

    def __enter__(self) -> "ProgressDisplay":
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    @contextmanager
    def measuring(self, part: str) -> Iterator[None]:
        """Around one part."""
        if not self.console.is_terminal:
            self.console.print(f"{part} …")
        self.progress.update(self.task, description=part)
        yield

    def log(self, text: str) -> None:
        """Show what goes on now."""
        self.progress.update(self.task, note=text[:32])

    def on_load(self, text: str) -> None:
        """One more load is done."""
        self.progress.update(self.task, advance=1, note=text[:32])

    def print_table(self, title: str, headers: list[str], rows: list[list[str]]) -> None:
        """The first column is text, the others are figures."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(title, style="bold", highlight=False, markup=False)
        self.console.print(table)
