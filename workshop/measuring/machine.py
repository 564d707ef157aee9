"""The machine of a measurement: what decides speed, and nothing private such as its name."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def fingerprint() -> dict[str, Any]:
    """Cores, CPU model, memory in GiB, operating system and Python, ready for JSON."""
    return {
        "cores": cores(),
        "cpu": _cpu(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "os": _system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def sentence(machine: dict[str, Any]) -> str:
    """One fingerprint in a line, for reports and below charts."""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['os']}, {machine['python']}"
    )


def cores() -> int:
    """The cores that this process may use; a container or `taskset` may allow fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or "unknown"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine() or "unknown"


def _system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = platform.system()
    return f"{name} ({platform.machine()})"
