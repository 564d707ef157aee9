"""Processes that a run of the checks leaves behind, found by the mark in their environment."""

import os
import uuid
from contextlib import suppress

import psutil

from workshop.paths import ROOT

MARK = "WORKSHOP_RUN"  # the variable; every process that comes of a run inherits it


def new_mark() -> str:
    """A mark for a run of this process; it names the clone and the process too."""
    return f"{ROOT}|{os.getpid()}|{psutil.Process().create_time()}|{uuid.uuid4().hex}"


def end_leftovers(mark: str) -> int:
    """End every process that carries the mark of a run; returns how many there were."""
    return _end(lambda found: found == mark)


def end_orphans() -> int:
    """End what runs left whose own process is gone, killed perhaps; returns how many there were."""
    return _end(lambda found: found.startswith(f"{ROOT}|") and not _runs(found))


def _end(chosen) -> int:
    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or another user's
            mark = process.environ().get(MARK)
            if mark and chosen(mark) and process.pid != os.getpid():
                process.kill()
                count += 1
    return count


def _runs(mark: str) -> bool:
    """Whether the process that made the mark is still there."""
    _, pid, created, _ = mark.rsplit("|", 3)
    try:
        return psutil.Process(int(pid)).create_time() == float(created)
    except psutil.Error:
        return False
