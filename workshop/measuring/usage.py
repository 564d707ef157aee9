"""How much of a core the load driver itself uses: a client at its limit measures itself."""

import contextlib
import time
from pathlib import Path


class CpuUsage:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self.started_at = time.perf_counter_ns()
        self.cpu_ns, self.queued_ns = time.process_time_ns(), queued_ns()

    def shares(self) -> dict[str, float]:
        """Shares of the time in which this process worked, and in which it waited for a core."""
        elapsed = max(1, time.perf_counter_ns() - self.started_at)
        return {
            "client_cpu": (time.process_time_ns() - self.cpu_ns) / elapsed,
            "client_queued": (queued_ns() - self.queued_ns) / elapsed,
        }


def queued_ns() -> int:
    """Nanoseconds that this process was ready to run but had no core; 0 except on Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    return 0
