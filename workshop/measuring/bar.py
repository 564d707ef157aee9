"""A progress bar for terminals and notebooks; nothing where a bar would only litter."""

import html
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(title: str, shown: bool = True, console: Console | None = None):
    """Yields `moved(fraction, text)`. It is gone when done. On a terminal it goes to stderr."""
    console = console or Console(stderr=True)
    if shown and console.is_jupyter:
        with _in_notebook(title) as moved:
            yield moved
    elif shown and console.is_terminal:
        with _on_terminal(title, console) as moved:
            yield moved
    else:
        yield lambda fraction, text="": None


@contextmanager
def _on_terminal(title: str, console: Console):
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()]
    columns.append(TextColumn("{task.fields[note]}", markup=False))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0, note="")
        yield lambda fraction, text="": progress.update(task, completed=fraction, note=text)


@contextmanager
def _in_notebook(title: str):
    from IPython.display import HTML, display

    def drawn(fraction: float, text: str = "") -> HTML:
        note = html.escape(f"{title} {text}")
        return HTML(f"<progress value='{fraction:.3f}' max='1'></progress> {note}")

    handle = display(drawn(0), display_id=True)
    try:
        yield lambda fraction, text="": handle.update(drawn(fraction, text))
    finally:
        handle.update(HTML(""))
