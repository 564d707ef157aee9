"""What an app's own connections do in PostgreSQL, and how processes are made to stand still."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def activity(app, db) -> list[tuple]:
    """pid, application_name, state and wait_event_type of the app's own connections."""
    rows = db.query(
        "SELECT pid, application_name, state, wait_event_type, client_port FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    if any((row[0], row[4]) not in app.connections for row in rows):  # looking them up takes time
        own = ports(app)
        app.connections |= {(row[0], row[4]): row[4] in own for row in rows}
    return [row[:4] for row in rows if app.connections[row[0], row[4]]]


def ports(app) -> set[int]:
    """The TCP ports of the app and of its children."""
    process = psutil.Process(app.server.process.pid)
    family = [process, *process.children(recursive=True)]
    return {c.laddr.port for p in family for c in p.net_connections("tcp") if c.laddr}


def backends(app, db) -> set[int]:
    return {pid for pid, *_ in activity(app, db)}


def working(app, db) -> list[tuple]:
    """Those in a query or in a transaction: not at rest in the pool."""
    return [row for row in activity(app, db) if row[2] != "idle"]


def queued(app, db) -> list[tuple]:
    """Those that wait for a lock."""
    return [row for row in activity(app, db) if row[3] == "Lock"]


def at_rest(app, db) -> set[int]:
    """The connections that stay open while none works; NullPool's are gone after a moment."""
    first = backends(app, db)
    time.sleep(0.3)
    return set() if working(app, db) else first & backends(app, db)


def pause(seconds: float) -> Iterator[None]:
    """Once every 50 ms, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.05)


@contextmanager
def hung(pids):
    """These processes stand still until the block ends."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
