"""pytest with the checks, in a process of its own.

On Linux that is a fork of one that has imported everything and done nothing else: whoever checks
again and again, or much side by side, imports once. Elsewhere forks are not safe; it starts anew.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from workshop.paths import ROOT
from workshop.steps import CHECKS, Check

STARTING = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
STARTING.set_forkserver_preload(
    ["pytest", "aiohttp", "httpx", "psycopg2", "redis", "workshop.server", "workshop.services"]
)


def start(
    checks: list[Check], environment: dict[str, str], log: Path, junit: Path | None
) -> tuple[multiprocessing.Process, Connection]:
    """Start pytest on these checks; returns its process and where its events (JSON) come from."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()  # where it can't be written, the error is raised here and not in the new process
    events, writing = STARTING.Pipe(duplex=False)
    process = STARTING.Process(target=_run, args=(checks, environment, log, junit, writing))
    # Ctrl-C comes to us alone until all is set up: who imports would print a traceback.
    resource_tracker.ensure_running()  # which process.start() would do, and let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    writing.close()
    return process, events


def _run(checks, environment, log, junit, events) -> None:
    os.environ.clear()
    os.environ.update(environment | {"CHECK_EVENTS": str(events.fileno())})
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    with log.open("ab") as output, open(os.devnull) as nothing:
        for file, place in (nothing, 0), (output, 1), (output, 2):
            os.dup2(file.fileno(), place)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import pytest

    with tempfile.TemporaryDirectory(prefix="checks-") as folder:
        options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder}/pytest"]
        options += ["-p", "no:unraisableexception"]  # it looks through all memory at the end
        options += [f"--junitxml={junit}"] if junit else []
        code = pytest.main([*options, *(f"{_file(c)}::test_{c.id}" for c in checks)])
    sys.exit(int(code))


def _file(check: Check) -> Path:
    return next(CHECKS.glob(f"test_step{check.step:02}_*.py"))
