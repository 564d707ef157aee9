"""What a learner has done so far, in .workshop/progress.json.

The file is replaced whole, under a lock: a crash in the middle of a write leaves the old one.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from workshop.checking.runner import Outcome
from workshop.paths import STATE

FILE = STATE / "progress.json"


def read() -> dict:
    """The progress: {step number as text: {"started", "checked", "passed", "failed", …}}.

    A file that cannot be read is put aside, and the progress begins anew.
    """
    try:
        progress = json.loads(FILE.read_text())
        if isinstance(progress, dict):
            return progress
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    FILE.replace(FILE.with_suffix(".unreadable"))
    return {}


@contextmanager
def of_step(number: int) -> Iterator[dict]:
    """The progress of one step, to change; it is written at the end of the block."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with FILE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        progress = read()
        step = progress.setdefault(str(number), {})
        step.setdefault("hints", {})  # check id -> how many were shown
        yield step
        _write(progress)


def record(number: int, outcomes: list[Outcome]) -> None:
    """Keep the outcomes of a run of the checks; times are seconds since 1970."""
    with of_step(number) as step:
        step["checked"] = time.time()
        step["runs"] = step.get("runs", 0) + 1
        step["passed"] = [outcome.check.id for outcome in outcomes if outcome.passed]
        step["failed"] = [outcome.check.id for outcome in outcomes if not outcome.passed]
        if not step["failed"]:
            step.setdefault("finished", step["checked"])


def _write(progress: dict) -> None:
    new = FILE.with_suffix(".new")
    with new.open("w") as handle:
        json.dump(progress, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(FILE)
