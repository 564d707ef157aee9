"""Lanes of the checks, seen from outside: pytest in processes of their own.

On Linux a lane is a fork of a process that has imported everything and done nothing else: a command
that checks again and again, or much side by side, imports once. Elsewhere forks aren't safe, and
each lane starts from the beginning.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from workshop.paths import ROOT
from workshop.services import Services
from workshop.steps import CHECKS, Check, Step
from workshop.target import Target

STARTING = (
    multiprocessing.get_context("forkserver")
    if sys.platform == "linux"
    else multiprocessing.get_context("spawn")
)
STARTING.set_forkserver_preload(
    ["pytest", "aiohttp", "httpx", "psutil", "psycopg2", "redis", "workshop.checking.lane"]
)
END = 30  # seconds that a lane has to stop what it started


class Lane:
    """One lane: told which check to run next, it sends events as `workshop.checking.lane` says."""

    def __init__(
        self,
        checks: list[Check],
        environment: Mapping[str, str],
        log: Path,
        step: Step,
        target: Target,
        services: Services | None = None,
    ):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()  # where it can't be written, the error is raised here, not in the new process
        self.connection, theirs = STARTING.Pipe()
        self.check: Check | None = None  # the one that it runs
        arguments = (theirs, checks, environment, log, step, target, services)
        self.process = STARTING.Process(target=_run, args=arguments)
        # Ctrl-C comes to us alone until all is set up: a process that imports would print a
        # traceback. The tracker is what process.start() would start, letting Ctrl-C through.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def run(self, check: Check | None) -> None:
        """Run this check next; None ends the lane."""
        self.check = check
        with suppress(OSError):  # it has ended, which the next `receive` says
            self.connection.send_bytes(check.id.encode() if check else b"")

    def receive(self) -> dict | None:
        """The next event; None when the lane has ended."""
        try:
            return json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None

    def interrupt(self) -> None:
        """Let the lane stop what it started."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Wait for its end; a lane that takes too long is killed."""
        self.process.join(END)
        self.process.kill()
        self.process.join()
        self.connection.close()


def _run(
    connection: Connection,
    checks: list[Check],
    environment: Mapping[str, str],
    log: Path,
    step: Step,
    target: Target,
    services: Services | None,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with log.open("ab") as output, open(os.devnull) as nothing:
        for file, place in (nothing, 0), (output, 1), (output, 2):
            os.dup2(file.fileno(), place)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import pytest

    from workshop.checking import lane

    plugin = lane.Lane(connection, step, target, services)
    try:
        with tempfile.TemporaryDirectory(prefix="checks-") as folder:
            options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder}/pytest"]
            options += ["-o", "filterwarnings=default"]  # a library may warn on a newer Python
            options += ["-p", "no:unraisableexception"]  # it looks through all memory at the end
            names = [f"{_file(check)}::test_{check.id}" for check in checks]
            code = pytest.main([*options, *names], plugins=[plugin])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # once asked to end, it stops what it started
        plugin.close()
    sys.exit(int(code))


def _file(check: Check) -> Path:
    return next(CHECKS.glob(f"test_step{check.step:02}_*.py"))
