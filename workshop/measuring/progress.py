"""A progress bar for terminals and notebooks; nothing where a bar would only litter."""

import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

UpdateProgress = Callable[[float, str], None]  # of the fraction that is done, and a note


@contextmanager
def progress_bar(
    title: str, enabled: bool = True, console: Console | None = None
) -> Iterator[UpdateProgress]:
    """Yields `update_progress(fraction, note)`. On a terminal the bar goes to stderr.

    The bar disappears at the end of the block.
    """
    console = console or Console(stderr=True)
    if enabled and console.is_jupyter:
        with _in_notebook(title) as update_progress:
            yield update_progress
    elif enabled and console.is_terminal:
        with _on_terminal(title, console) as update_progress:
            yield update_progress
    else:
        yield lambda fraction, note: None


@contextmanager
def _on_terminal(title: str, console: Console) -> Iterator[UpdateProgress]:
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=1.0, note="")
        yield lambda fraction, note: progress.update(task, completed=fraction, note=note)


@contextmanager
def _in_notebook(title: str) -> Iterator[UpdateProgress]:
    from IPython.display import HTML, display

    def drawn(fraction: float, note: str) -> Any:
        text = html.escape(f"{title} {note}")
        return HTML(f"<progress value='{fraction:.3f}' max='1'></progress> {text}")

    handle = display(drawn(0, ""), display_id=True)
    try:
        yield lambda fraction, note: handle.update(drawn(fraction, note))
    finally:
        handle.update(HTML(""))
