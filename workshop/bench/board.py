"""What `make bench` shows while it runs: a table for each part, a bar and the time left below."""

import time
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text


class TimeLeft(ProgressColumn):
    """Told by the board: the parts move in steps, which rich would take for their speed."""

    max_refresh = 0.5

    def render(self, task) -> Text:
        left = max(0, int(task.fields["left"]()))
        return Text(f"{left // 60}:{left % 60:02} left", style="cyan")


class Board:
    """`planned`: the seconds that each part is expected to take, by name."""

    def __init__(self, planned: dict[str, float]):
        self.planned, self.done, self.part, self.begun = planned, 0.0, None, 0.0
        self.started = time.monotonic()
        self.console = Console()
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TimeLeft(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self.console,
            transient=True,
        )
        total = sum(planned.values())
        self.task = self.progress.add_task("bench", total=total, note="", left=self.left)

    def __enter__(self) -> "Board":
        self.progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self.progress.stop()

    def left(self) -> float:
        """Seconds until the end: as planned, or at the pace so far where that is slower."""
        reached = self.reached()
        pace = (time.monotonic() - self.started) / reached if reached > 5 else 1
        return (sum(self.planned.values()) - reached) * max(1, pace)

    def reached(self) -> float:
        """Planned seconds that are done; a part that takes longer waits just below its end."""
        if self.part is None:
            return self.done
        of = self.planned[self.part]
        return self.done + min(time.monotonic() - self.begun, 0.98 * of)

    @contextmanager
    def measuring(self, part: str):
        """Around one part."""
        self.part, self.begun = part, time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{part} … about {self.left():.0f} s left")
        self.say("")
        yield
        self.done, self.part = self.done + self.planned[part], None

    def say(self, note: str) -> None:
        """What is going on now."""
        self.progress.update(
            self.task, description=self.part or "bench", completed=self.reached(), note=note[:32]
        )

    def show(self, title: str, headers: list[str], rows: list[list[str]]) -> None:
        """Print one table; the first column is text, the others are figures."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
        for number, header in enumerate(headers):
            table.add_column(header, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(title, style="bold", highlight=False, markup=False)
        self.console.print(table)
