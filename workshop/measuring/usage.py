"""What the load driver itself used: a client at its limit measures itself."""

import contextlib
import time
from pathlib import Path


class Usage:
    """How much of a core this process used, and how long it stood in line for one (Linux)."""

    def __init__(self, now: int):
        self.wall, self.cpu, self.queued = now, time.process_time_ns(), queued()

    def shares(self) -> dict:
        wall = max(1, time.perf_counter_ns() - self.wall)
        cpu = (time.process_time_ns() - self.cpu) / wall
        return {"client_cpu": cpu, "client_queued": (queued() - self.queued) / wall}


def queued() -> int:
    """Nanoseconds that this process stood ready and had no core; 0 where not told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    return 0
