"""The load driver against wrk on the same server, in interleaved rounds.

    python tests/tooling/agreement.py [URL]

Without a URL, on a server of its own that is busy for 0.2 ms for each request, and then on one
that answers as fast as it can. wrk comes from the system's packages.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from loadserver import serving

from workshop.compare import Comparison, compare_sync
from workshop.load import load_sync

WRK = shutil.which("wrk")
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def wrk(url: str, connections: int, seconds: float) -> dict[str, float]:
    """Requests/s and p50 in milliseconds, by wrk with one thread."""
    command = [WRK, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    p50, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    return {"throughput": rate, "p50": float(p50) * UNITS[unit]}


def driver(url: str, connections: int, seconds: float) -> dict[str, float]:
    """The same by the load driver."""
    result = load_sync(url, connections=connections, seconds=seconds, warmup=0, progress=False)
    return {"throughput": result.throughput, "p50": result.p50, "cpu": result.client_cpu}


def agreement(url: str, connections: int, seconds: int, rounds: int) -> dict[str, Comparison]:
    """Comparisons of the driver (second) with wrk (first), by measure, over the same rounds."""
    measured: dict[str, list] = {"wrk": [], "driver": []}
    sides = {
        name: lambda name=name, tool=tool: (
            measured[name].append(tool(url, connections, seconds))
            or measured[name][-1]["throughput"]
        )
        for name, tool in (("wrk", wrk), ("driver", driver))
    }
    by_throughput = compare_sync(sides, rounds=rounds, progress=False)
    p50 = {name: [each["p50"] for each in several] for name, several in measured.items()}
    return {"throughput": by_throughput, "p50": Comparison("p50", p50)}


def main(urls: list[str]) -> None:
    with serving() as url:
        for one in urls or [f"{url}/work", f"{url}/ok"]:
            for connections in (1, 50, 200):
                print(f"{one}, {connections} connections")
                for comparison in agreement(one, connections, seconds=2, rounds=8).values():
                    print("  " + str(comparison).replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
