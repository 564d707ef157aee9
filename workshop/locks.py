"""Locks between processes: the system releases one when its holder ends, however it ends."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def try_lock(path: Path) -> TextIO | None:
    """Lock the file without waiting; None when another process holds it.

    The lock lasts until the returned file is closed, also in a process that inherits it.
    """
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[TextIO]:
    """Hold the lock for the block, which gets its file; `on_wait` is called once before a wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = try_lock(path)
    if file is None:
        on_wait()
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    with file:
        yield file
