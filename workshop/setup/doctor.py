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
from urllib.request import getproxies_environment, proxy_bypass

import psutil

from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import External, shared
from workshop.services.daemon import HOST, listening
from workshop.steps import steps

PACKAGES = ("flask", "gevent", "sqlalchemy", "psycopg2-binary", "redis", "pyjwt")
FREE_DISK = 1.0  # GB: the packages of all groups take 0.5, the databases 0.3
FREE_MEMORY = 1.0  # GB
GLIBC = (2, 28)  # what the wheels of PostgreSQL and of most packages are made for


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do ("" when it is fine)."""

    name: str
    found: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """All findings, one after another; the services are looked at, not started."""
    looks: list[Callable[[], Finding]] = [
        python, system, cores, memory, disk, packages, services, ports, proxy, timing
    ]  # fmt: skip
    for look in looks:
        yield look()


def python() -> Finding:
    version = platform.python_version()
    fine = (3, 11) <= sys.version_info[:2] <= (3, 14)
    return Finding("Python", version, "" if fine else "Install Python 3.11 to 3.14.")


def system() -> Finding:
    library, version = platform.libc_ver()
    name = f"{platform.system()} {platform.release()} {platform.machine()} {library} {version}"
    if platform.system() not in ("Linux", "Darwin"):
        return Finding("System", name.strip(), "Use Linux, macOS, or Windows with WSL 2.")
    if library == "glibc" and tuple(map(int, version.split("."))) < GLIBC:
        return Finding("System", name, "The servers need glibc 2.28, of 2018: use a newer system.")
    return Finding("System", name.strip())


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
    """Those that are installed: some come only with the command that needs them."""
    installed = {name: _version(name) for name in PACKAGES}
    return Finding("Packages", " ".join(f"{name} {v}" for name, v in installed.items() if v))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def services() -> Finding:
    """Looks at the servers and starts none."""
    try:
        chosen = shared()
    except WorkshopError as error:
        return Finding("Services", "a setting is wrong", str(error))
    named = chosen.named() if isinstance(chosen, External) else []
    own = chosen.own if isinstance(chosen, External) else chosen
    servers = {"DATABASE_URL": own.postgres, "REDIS_URL": own.valkey}
    running = {s: s.running() for name, s in servers.items() if name not in named}
    states = [f"{s.title} {'runs' if on else 'is stopped'}" for s, on in running.items()]
    taken = [s for s, on in running.items() if not on and listening(s.port)]
    advice = ""
    if taken:
        advice = f"Another program has port {taken[0].port}: set {taken[0].setting} in .env."
    if isinstance(chosen, External) and (silent := chosen.silent()):
        advice = f"The server in {silent[0]} doesn't answer: start it, or unset {silent[0]}."
    return Finding("Services", ", ".join(states + [f"{name} is set" for name in named]), advice)


def proxy() -> Finding:
    proxies = getproxies_environment()
    if "http" not in proxies:
        return Finding("Proxy", "none is set for http")
    if proxy_bypass(HOST):
        return Finding("Proxy", f"http_proxy is set, and passed by for {HOST}")
    advice = f"Add {HOST},localhost to no_proxy: curl would ask the proxy for your own servers."
    return Finding("Proxy", "http_proxy is set", advice)


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
