"""Is this machine fit for the workshop? Each line is ok, or says in one sentence what to do.

The output holds nothing private: no name of a user, a host or a folder.
"""

import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import psutil

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import shared
from workshop.services.daemon import listening
from workshop.steps import steps

PACKAGES = ("flask", "gevent", "sqlalchemy", "psycopg2-binary", "redis", "pyjwt")
FREE_DISK = 1.0  # GB: the packages of all groups take 0.5, the databases 0.3
FREE_MEMORY = 1.0  # GB


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do ("" when it is fine)."""

    name: str
    found: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """All findings, one after another; the services are looked at, not started."""
    looks: list[Callable[[], Finding]] = [
        python, system, cores, memory, disk, packages, services, ports, timing
    ]  # fmt: skip
    for look in looks:
        yield look()


def python() -> Finding:
    version = platform.python_version()
    fine = (3, 11) <= sys.version_info[:2] <= (3, 14)
    return Finding("Python", version, "" if fine else "Install Python 3.11 to 3.14.")


def system() -> Finding:
    name = f"{platform.system()} {platform.release()} {platform.machine()}"
    fine = platform.system() in ("Linux", "Darwin")
    return Finding("System", name, "" if fine else "Use Linux, macOS, or Windows with WSL 2.")


def cores() -> Finding:
    count = os.cpu_count() or 1
    advice = "" if count > 1 else "With one core the load takes time from the server: compare only."
    return Finding("Cores", str(count), advice)


def memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    advice = "" if free >= FREE_MEMORY else "Close other programs: 1 GB should be free."
    return Finding("Memory", f"{free:.1f} GB free", advice)


def disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 1e9
    advice = "" if free >= FREE_DISK else "Free some space: the workshop needs about 1 GB."
    return Finding("Disk", f"{free:.1f} GB free", advice)


def packages() -> Finding:
    found = " ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return Finding("Packages", found)


def services() -> Finding:
    own = shared()
    if not hasattr(own, "postgres"):
        return _external(own)
    up = {"PostgreSQL": own.postgres.running(), "Valkey": own.valkey.running()}
    taken = [
        f"{setting}={port}"
        for name, setting, port in (
            ("PostgreSQL", "POSTGRES_PORT", own.postgres.port),
            ("Valkey", "REDIS_PORT", own.valkey.port),
        )
        if not up[name] and listening(port)
    ]
    found = ", ".join(f"{name} {'runs' if on else 'is stopped'}" for name, on in up.items())
    if taken:
        advice = (
            f"Another program has {taken[0].split('=')[1]}: set {taken[0].split('=')[0]} in .env."
        )
        return Finding("Services", found, advice)
    return Finding("Services", found)


def _external(services) -> Finding:
    try:
        services.start(lambda text: None)
    except WorkshopError as error:
        return Finding("Services", "DATABASE_URL or REDIS_URL is set", str(error))
    return Finding("Services", "those in DATABASE_URL and REDIS_URL answer")


def ports() -> Finding:
    taken = [str(step.port) for step in steps() if listening(step.port)]
    if taken:
        text = f"{', '.join(taken)} in use"
        return Finding(
            "Ports", text, "Fine if a step runs there; else set PORT to serve elsewhere."
        )
    return Finding("Ports", f"{steps()[0].port} to {steps()[-1].port} are free")


def timing(rounds: int = 30) -> Finding:
    """How much the same work varies in time: the spread of the middle half, in percent."""

    def work() -> float:
        started = time.perf_counter()
        sum(range(200_000))
        return time.perf_counter() - started

    work()
    low, middle, high = statistics.quantiles([work() for _ in range(rounds)], n=4)
    spread = (high - low) / middle * 100
    advice = "" if spread < 15 else "Plug in the charger and close other programs to measure well."
    return Finding("Timing", f"the same work varies by {spread:.0f} %", advice)
