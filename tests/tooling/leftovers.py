"""Whether processes are gone."""

import psutil
from blackbox import eventually


def gone(pids, seconds: float = 30) -> bool:
    """Whether all these processes end within the time."""
    return eventually(lambda: not any(alive(pid) for pid in pids), seconds)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
